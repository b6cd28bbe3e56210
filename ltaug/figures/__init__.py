"""The field's figures: each computes its data, draws it, and hands both back; the stage writes them side by side."""
