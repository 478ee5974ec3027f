"""Everything that knows a Segment Anything model."""
