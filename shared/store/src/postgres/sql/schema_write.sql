UPDATE meta SET schema = $1
