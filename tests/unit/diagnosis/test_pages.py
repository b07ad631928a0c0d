from pathlib import Path

from appstatus.diagnosis.classes import CLASSES, RULES, Rule

PAGE = Path(__file__).parents[3] / "docs" / "diagnosis.md"


def row(rule: Rule) -> str:
    needs = [", ".join(rule.every)] if rule.every else []
    some = " or ".join(rule.some)
    needs += [f"and {some}" if rule.every else some] if rule.some else []
    cells = [rule.klass, CLASSES[rule.klass].title, ", ".join(needs), ", ".join(rule.none)]
    return "| " + " | ".join(cells) + " |"


def test_the_page_has_the_rules_in_their_order() -> None:
    between = PAGE.read_text().split("<!-- rules -->\n")[1].split("<!-- /rules -->")[0]
    written = [" ".join(line.split()) for line in between.splitlines()[2:]]
    assert written == [" ".join(row(rule).split()) for rule in RULES]
