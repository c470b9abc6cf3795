"""Named after a server, and none: reading services by file name would be fooled by it."""

import time

while True:
    time.sleep(60)
