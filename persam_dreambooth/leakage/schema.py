"""The shape of report.json by its name: goes up when an older reader would misread a newer file."""

SCHEMA = "persam-dreambooth-comparison/2"
