"""When schedules fire: pure arithmetic of calendars."""
