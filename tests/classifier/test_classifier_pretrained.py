"""Classifiers that start from published weights: networks of timm's, saved by the tests themselves."""

import pytest

from ltaug.errors import OptionError
from ltaug.fields import checked
from ltaug.options import ClassifierOptions


def test_a_model_named_with_its_weights_is_refused_where_training_starts_from_random_ones():
    with pytest.raises(OptionError, match=r"--model resnet10t\.c3_in1k names published weights.* use --model resnet10t$"):
        checked(ClassifierOptions, {"model": "resnet10t.c3_in1k"}, where="train-classifier")
