"""Sensors and schedules: thin ticks over pure decisions."""
