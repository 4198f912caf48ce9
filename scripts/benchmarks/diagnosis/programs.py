"""Programs that work, with healthy variants; every one belongs to the development or to the held-out part, whole."""

from benchmarks.diagnosis import programs_development, programs_held_out

PROGRAMS = (*programs_development.PROGRAMS, *programs_held_out.PROGRAMS)
