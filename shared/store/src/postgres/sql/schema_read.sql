SELECT schema FROM meta
