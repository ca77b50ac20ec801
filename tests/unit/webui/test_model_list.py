from services.webui.model_list import Catalogue, ModelEntry, ModelList, read_entries
from shared.errors import Unavailable
from tests.fakes.scripted_client import ScriptedClient


def test_ready_models_come_first_and_a_plain_server_has_only_ready_ones():
    entries = read_entries(
        [
            {"id": "big", "state": "loading", "progress": 0.43},
            {"id": "zeta", "state": "ready"},
            {"id": "alpha"},
        ]
    )
    assert [entry.id for entry in entries] == ["alpha", "zeta", "big"]
    assert [entry.ready for entry in entries] == [True, True, False]


def test_a_model_on_its_way_says_how_far_it_is():
    assert ModelEntry("big", "downloading", 0.43).label == "big (downloading 43%)"
    assert ModelEntry("big", "warming").label == "big (warming)"
    assert ModelEntry("big").label == "big"


def test_the_wanted_model_is_preferred_then_a_ready_one_then_any():
    loading, ready = ModelEntry("a", "loading"), ModelEntry("b")
    both = Catalogue((loading, ready))
    assert both.preferred("a") == "a"
    assert both.preferred("gone") == "b"
    assert Catalogue((loading,)).preferred() == "a"
    assert Catalogue().preferred() is None


async def test_the_last_list_stays_while_the_controller_is_away():
    client = ScriptedClient()
    models = ModelList(client)
    assert not models.catalogue.known
    await models.refresh()
    client.offered = Unavailable("Nothing answers at http://controller.invalid.")
    await models.refresh()
    assert models.catalogue.entries == (ModelEntry("demo"),)
    assert models.catalogue.fault == "Nothing answers at http://controller.invalid."
    client.offered = [{"id": "other"}]
    await models.refresh()
    assert models.catalogue == Catalogue((ModelEntry("other"),), known=True)
