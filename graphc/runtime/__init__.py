"""Running graphs: backends, compiled models, feeds, profiles, comparison between backends."""
