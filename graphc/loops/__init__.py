"""The loop level: what expressions compute, as loop nests; how, as schedules of those."""
