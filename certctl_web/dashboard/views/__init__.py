"""What the pages show and what their buttons do: functions of the desk and what was asked, one file a page."""
