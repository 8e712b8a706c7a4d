SELECT cursor FROM cursors WHERE listing = $1 AND project = $2
