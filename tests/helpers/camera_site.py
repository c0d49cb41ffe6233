"""The cameras of a site, and the settings of a detector that is to find them."""

FRONT = "aa:bb:cc:00:00:01"
YARD = "aa:bb:cc:00:00:02"
NEW = "aa:bb:cc:00:00:03"
FRONT_IP = "192.168.1.10"
YARD_IP = "192.168.1.11"
NEW_IP = "192.168.1.12"
FREE_IP = "192.168.1.20"

SETTINGS = {
    "CAMERA_CREDENTIALS": "admin:secret,viewer:look",
    "DISCOVERY_INTERVAL": "1",
    "HEALTH_CHECK_INTERVAL": "1",
    "OFFLINE_THRESHOLD": "60",
    "RTSP_PORTS": "554,8554",
    "SCAN_NETWORKS": "192.168.1.0/27",
    "SCAN_WORKERS": "4",  # enough for cameras that answer at once
    "VALIDATION_PROCESSES": "0",  # a fork of pytest takes milliseconds to make and to end
}
