"""The page as a person reads it, in headless Chromium; and what names can't do to it."""

import html
import json
import re
import shutil
import subprocess

import pytest

from pipeline.report.comparison import compare, render_comparison
from pipeline.report.page import render
from tests.pipeline.report.conftest import CAT, DOG, EMPTY, HOSTILE, PICTURES, renamed

LAPTOP, PHONE = (1280, 900), (390, 844)
LONG = "x" * 5000
NASTY = [
    "\x00\x1b[31m\u202egpj",
    "\udcff.jpg",
    '"><img src=x onerror=alert(1)>',
    "$a_b$ & {{ 7*7 }}",
]


def in_browser(text, script, folder, screen=LAPTOP, *flags):
    """What a script returns that another page runs, with the page's `document` and `window`."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("chromium is not installed (Debian: chromium)")
    width, height = screen
    (folder / "page.html").write_bytes(text.encode())
    # Chromium has no windows as narrow as a phone's, but frames. The page's own policy allows no
    # script but its own, so this one runs outside.
    (folder / "reader.html").write_text(
        f'<body><iframe src="page.html" width="{width}" height="{height}" style="border: 0">'
        "</iframe><script>addEventListener('load', () => {"
        "const window = document.querySelector('iframe').contentWindow;"
        f"const result = ((document) => {{{script}}})(window.document);"
        "document.body.textContent = JSON.stringify(result); });</script>"
    )
    done = subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", "--hide-scrollbars",
         "--allow-file-access-from-files", f"--user-data-dir={folder / 'profile'}",
         f"--window-size={max(width, 500)},{height}", *flags, f"file://{folder / 'reader.html'}"],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return json.loads(html.unescape(re.search("<body>(.*)</body>", done.stdout, re.S)[1]))


def test_a_person_reads_the_verdict_clicks_a_mistake_and_filters(usual, tmp_path):
    seen = in_browser(
        render(usual, None),
        """
        const shown = () => [...document.querySelectorAll(".card")].filter((card) => !card.hidden)
          .map((card) => card.querySelector(".id").textContent);
        const dialog = document.querySelector("dialog");
        const press = (kind) => document.querySelector(`button[data-kind="${kind}"]`).click();
        const seen = {
          verdict: document.querySelector("h1").textContent,
          threshold: document.querySelector("#threshold").textContent,
          first: shown(),
          closed: dialog.open,
        };
        document.querySelectorAll(".card button")[1].click();
        seen.open = dialog.open;
        seen.title = dialog.querySelector("b").textContent;
        seen.what = dialog.querySelector(".what").textContent.trim();
        seen.pictures = dialog.querySelectorAll("svg.scene").length;
        seen.larger = dialog.querySelector("svg.scene").clientWidth
          > document.querySelector(".card svg.scene").clientWidth;
        dialog.querySelector('[data-step="1"]').click();
        seen.next = dialog.querySelector("b").textContent;
        dialog.querySelector('[data-step="0"]').click();
        seen.closedAgain = dialog.open;
        press("missed");
        seen.missed = shown();
        press("suspect");
        seen.suspect = shown();
        press("");
        const byClass = document.querySelector("#by-class");
        byClass.value = [...byClass.options].find((one) => one.text === "dog").value;
        byClass.dispatchEvent(new window.Event("change"));
        seen.dogs = shown();
        seen.count = document.querySelector("#shown").value;
        return seen;
        """,
        tmp_path,
    )
    assert seen["verdict"].startswith("Pushed as version 3: mAP@.5 is 0.")
    assert seen["threshold"] == f"{usual['mistakes']['threshold']:.2f}"
    assert seen["first"] == ["missed", "wrong", "unlabelled"]
    assert (seen["closed"], seen["open"], seen["closedAgain"]) == (False, True, False)
    assert seen["title"] == "wrong"
    assert seen["what"] == "wrong class: dog 0.85, labelled as cat"
    assert seen["pictures"] == 2
    assert seen["larger"]
    assert seen["next"] == "unlabelled"
    assert seen["missed"] == ["missed"]
    assert seen["suspect"] == ["unlabelled"]
    assert seen["dogs"] == ["wrong"]
    assert seen["count"] == "1 of 3 pictures"


@pytest.mark.parametrize("screen", [LAPTOP, PHONE])
def test_it_fits_on_a_laptop_and_on_a_phone(facts_of, tmp_path, screen):
    many = {f"{'p' * 80}{n}": ([("cat", CAT)], [("dog", DOG, 0.9)]) for n in range(30)}
    facts = facts_of(renamed(PICTURES | many, cat="c" * 90))
    seen = in_browser(
        render(facts, None),
        """
        const more = document.querySelector("#more");
        const first = document.querySelectorAll(".card:not([hidden])").length;
        more.click();
        document.querySelector(".card button").click();
        return {
          width: document.documentElement.scrollWidth, first,
          all: document.querySelectorAll(".card:not([hidden])").length, more: more.hidden,
          dialog: document.querySelector("dialog").getBoundingClientRect().width,
        };
        """,
        tmp_path,
        screen,
    )
    assert seen["width"] == screen[0]  # nothing to scroll sideways
    assert (seen["first"], seen["all"], seen["more"]) == (24, 33, True)
    assert seen["dialog"] <= screen[0]


def test_names_that_are_html_are_shown_and_do_nothing(facts_of, tmp_path):
    pictures = renamed(PICTURES, cat=HOSTILE, dog=NASTY[2])
    pictures |= {name: ([(HOSTILE, CAT)], []) for name in [*NASTY, HOSTILE, LONG]}
    text = render(facts_of(pictures), None)
    # Nothing but the page's own script, and no element that a name made.
    seen = in_browser(
        text,
        """
        const texts = (one) => [...document.querySelectorAll(one)].map((each) => each.textContent);
        return {
          scripts: document.scripts.length,
          images: [...document.images].filter((one) => !one.src.startsWith("data:")).length,
          classes: texts("#quality tbody th"),
          ids: texts(".id"),
        };
        """,
        tmp_path,
    )
    assert (seen["scripts"], seen["images"]) == (1, 0)
    assert {HOSTILE, NASTY[2]} <= set(seen["classes"])
    assert {HOSTILE, NASTY[2], NASTY[3]} <= set(seen["ids"])
    assert "\ufffd\ufffd[31m\ufffdgpj" in seen["ids"]
    assert "\ufffd.jpg" in seen["ids"]
    assert max(map(len, seen["ids"])) <= 80
    assert "onerror=alert(1)>" not in text.replace("onerror=alert(1)&gt;", "")


def test_the_policy_allows_the_page_s_own_script_only(usual, tmp_path):
    text = render(usual, None)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe-inline" not in re.search(r"script-src[^;]*", policy)[0]
    ran = "document.title = 'ran';"
    smuggled = text.replace("</body>", f"<script>{ran}</script></body>")
    # The filters work, so the page's own script ran.
    assert in_browser(
        smuggled,
        'return [document.title, document.querySelector("#filters").hidden];',
        tmp_path,
    ) == ["Report of run run 1", False]


def test_it_loads_nothing(usual):
    text = render(usual, None)
    assert not re.findall(r'(?:src|href)="(?!data:|#|file:)[^"]*"', text)
    assert "@import" not in text
    assert "url(" not in re.sub(r"url\(#[\w-]+\)", "", text)


def test_colours_follow_the_reader_s_light_or_dark(usual, tmp_path):
    script = """
        const colour = (one, what) => window.getComputedStyle(document.querySelector(one))[what];
        return [colour("body", "backgroundColor"), colour(".chart text", "fill")];
    """
    light = in_browser(render(usual, None), script, tmp_path)
    dark = in_browser(
        render(usual, None), script, tmp_path, LAPTOP, "--blink-settings=preferredColorScheme=0"
    )
    assert light == ["rgb(255, 255, 255)", "rgb(28, 32, 36)"]
    assert dark == ["rgb(20, 23, 26)", "rgb(228, 232, 236)"]


def test_a_model_that_was_refused_says_by_how_much(facts_of):
    text = render(facts_of(PICTURES, bound=0.99), None)
    assert re.search(r"<h1[^>]*>Not pushed: mAP@.5 is 0\.\d+, and at least 0.99 was asked", text)


def test_a_detector_that_finds_nothing_is_shown(facts_of):
    text = render(facts_of({name: (both[0], []) for name, both in PICTURES.items()}), None)
    assert "Not pushed" in text
    assert "there is none to recommend" in text


def test_pictures_without_any_object_are_shown(facts_of):
    text = render(facts_of({"negative": ([], []), "false": ([], [("cat", CAT, 0.9)])}), None)
    assert "mAP@.5 is not a number" in text
    assert "there is nothing to score" in text


def test_a_run_that_failed_has_a_page_that_says_why():
    error = "Expected annotated images. Received: <none>.\n  first.xml: broken"
    summary = {"run_id": "r1", "status": "failed", "pipeline": "pets", "error": error}
    run = {
        "summary": summary, "command": "local_runner.py --data pets", "cost": None,
        "components": {"ExampleGen": {"status": "failed", "seconds": 1.5}}, "artifacts": [],
        "fingerprints": {"code": None}, "lineage": None,
    }  # fmt: skip
    text = render(None, run)
    assert (
        "The run failed: Expected annotated images. Received: &lt;none&gt;.\n  first.xml: broken"
        in text
    )
    assert "local_runner.py --data pets" in text
    assert "ExampleGen" in text


def test_the_page_of_the_same_facts_is_the_same(usual):
    assert render(usual, None) == render(usual, None)


def side(facts, run_id="r1"):
    return facts, {"summary": {"run_id": run_id, "pipeline": "pets", "status": "pushed"}}


def test_two_runs_tell_which_classes_got_better_and_which_pictures_changed_sides(usual, facts_of):
    later = facts_of(
        PICTURES
        | {
            "missed": ([("cat", CAT)], [("cat", CAT, 0.9)]),
            "right_2": ([("dog", DOG)], []),
            "wrong": ([("cat", CAT)], [("cat", EMPTY, 0.9)]),
            "new": ([("cat", CAT)], [("cat", CAT, 0.9)]),
        }
    )
    found = compare(side(usual), side(later, "r2"))
    assert (found["shared"], found["only"]) == (8, [0, 1])
    ids = {change: [each["id"] for each in rows] for change, rows in found["changes"].items()}
    assert ids == {"better": ["missed"], "worse": ["right_2"], "other": ["wrong"]}
    changes = {row["name"]: row["after"] - row["before"] for row in found["classes"]}
    assert changes["cat"] > 0 > changes["dog"]
    text = render_comparison(side(usual), side(later, "r2"))
    assert "1 picture got better, 1 got worse" in text


def test_a_comparison_shows_hostile_names_as_text(usual, facts_of):
    other = facts_of(renamed(PICTURES, cat=HOSTILE) | {HOSTILE: ([("dog", DOG)], [])})
    text = render_comparison(side(usual), side(other))
    assert HOSTILE not in text
