"""What is passed on of connection tracking's messages when some of them were lost."""

from appstatus_agent.features import Features
from appstatus_agent.network import translations
from appstatus_agent.network.conntrack import Translation
from appstatus_agent.network.translations import Translator

SERVICE, BACKEND = (bytes([10, 96, 0, 10]), 80), (bytes([10, 244, 0, 5]), 8080)


def of(port: int) -> Translation:
    return Translation((bytes([10, 244, 0, 9]), port), SERVICE, BACKEND, False)


class Loss:
    """The socket of events overflows once; the end of the connection from port 1001 is among what is lost."""

    lost = 0
    file = None

    def fileno(self):
        return self.file.fileno()

    def read(self):
        self.lost = 1
        return [of(1002)]

    def close(self):
        self.file.close()


def test_a_connection_whose_end_was_lost_is_forgotten(monkeypatch, tmp_path):
    nat = {}
    dumps = [[of(1000), of(1001)], [of(1000), of(1002)]]

    def forget(source, dialled):
        nat.pop((source, dialled))

    def retain(connections):
        for gone in set(nat) - set(connections):
            del nat[gone]
        if not dumps:
            translator.stop()

    Loss.file = (tmp_path / "event").open("w+")
    monkeypatch.setattr(translations, "_EVENTS_SETTING", tmp_path / "none")
    monkeypatch.setattr(translations.conntrack, "dump", lambda: iter(dumps.pop(0)))
    monkeypatch.setattr(translations.conntrack, "Events", Loss)
    translator = Translator(Features(), lambda source, dialled, actual: nat.update({(source, dialled): actual}), forget, retain)
    translator._follow()
    assert translator.lost == 1
    assert {source[1] for source, _ in nat} == {1000, 1002}
