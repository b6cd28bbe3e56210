"""Networks by name (methods.BACKBONES): `backbone(image_shape=..., num_classes=..., augment_channels=..., **settings)`.

Called as `(x, noise_input, labels, augment) -> (prediction, features)`; `augment` is (B, augment_channels) or None, which
must be the same as zeros. The attribute `feature_channels` is the number of channels of the features (B, D, h, w), and
`classes` an embedding with one row a class, which fine-tuning carries over by the class's name. `TINY` holds settings for a
network of a few thousand parameters, which tests use.
"""
