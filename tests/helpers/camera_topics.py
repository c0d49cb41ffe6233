"""The topics of a camera detector."""

LWT = "system/camera_detector/lwt"
HEALTH = "system/camera_detector/health"
INVENTORY = "system/camera_detector/inventory"
COMMAND = "system/camera_detector/command"
EVENTS = "camera/events"
FRIGATE = "frigate/config/cameras"
