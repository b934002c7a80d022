"""After a build whose board was not there: its bundle is settled on a device, and the result says what came of it."""
