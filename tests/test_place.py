import pytest

from ltaug.errors import OptionError
from ltaug.place import ALONE, Place, place_of


def test_a_process_without_a_launcher_is_alone():
    assert place_of({}) == ALONE
    assert ALONE.leads


def test_a_launcher_says_which_process_this_is():
    place = place_of({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"})
    assert place == Place(3, 4, 1)
    assert not place.leads


@pytest.mark.parametrize("environment", [{"RANK": "2", "WORLD_SIZE": "2"}, {"RANK": "x"}, {"WORLD_SIZE": "-1"}, {"RANK": "1"}])
def test_an_impossible_place_is_refused(environment):
    with pytest.raises(OptionError, match="RANK must be a number"):
        place_of(environment)
