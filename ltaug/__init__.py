"""ltaug: will synthetic tail images make a classifier better, by how much, and can that be trusted?"""
