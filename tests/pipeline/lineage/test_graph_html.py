"""The page of a graph: what it shows, on a phone's screen too, and whether its lines hold."""

import dataclasses
import html
import itertools
import json
import re
import shutil
import subprocess

import pytest

from benchmarks.lineage_store import generate
from pipeline.lineage import open_backend, trace
from pipeline.lineage.graph import draw, to_json
from pipeline.lineage.graph_html import page, sections
from pipeline.metadata.store import connection_config, open_store

CHAIN = 60
PHONE = (390, 844)


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """The graph of the last of 60 runs that began from one another."""
    folder = tmp_path_factory.mktemp("chain")
    location = str(folder / "metadata.sqlite")
    made = generate(open_store(connection_config(location)), folder / "root", CHAIN, chain=CHAIN)
    return to_json(trace(open_backend(location), f"artifact:{made.pushed[-1]}"))


@pytest.fixture
def graph(sqlite_filled):
    return to_json(trace(sqlite_filled.open(), "run-00009"))


def in_browser(text: str, script: str, folder, *flags: str):
    """What a script returns that runs at the end of a page, on a phone's screen."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("chromium is not installed (Debian: chromium)")
    # Chromium has no windows as narrow as a phone's, but frames.
    width, height = PHONE
    report = f"parent.document.body.textContent = JSON.stringify((() => {{{script}}})());"
    (folder / "page.html").write_text(text.replace("</body>", f"<script>{report}</script></body>"))
    (folder / "phone.html").write_text(
        f'<body><iframe src="page.html" width="{width}" height="{height}" style="border: 0">'
    )
    done = subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", "--hide-scrollbars",
         "--allow-file-access-from-files", f"--user-data-dir={folder / 'profile'}", *flags,
         f"file://{folder / 'phone.html'}"],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return json.loads(html.unescape(re.search("<body>(.*)</body>", done.stdout, re.S)[1]))


def test_every_edge_is_one_line_from_its_target_down_to_its_source(chain, graph):
    for drawn in (chain, graph):
        found = sections(drawn)
        sides = {key: node["run"] for section in found for key, node in section.nodes.items()}
        for edge in drawn["edges"]:
            source, target = edge["source"], edge["target"]
            execution = source if source.startswith("e") else target
            (section,) = (s for s in found if s.run == sides[execution])
            places = {row.key: number for number, row in enumerate(section.rows)}
            upper, lower = section.rows[places[target]], section.rows[places[source]]
            assert places[target] < places[source]
            assert lower.lane in upper.leaving
            assert lower.ends
            for between in section.rows[places[target] + 1 : places[source]]:
                assert lower.lane in between.passing
                assert between.lane != lower.lane


def test_marks_and_lines_of_a_row_are_in_lanes_of_their_own(chain, graph):
    for section in (*sections(chain), *sections(graph)):
        for row in section.rows:
            assert len({row.lane, *row.passing}) == 1 + len(row.passing)
        for above, below in itertools.pairwise(section.rows):
            going = {*above.passing, *above.leaving}
            assert going == {*below.passing, *([below.lane] if below.ends else [])}


def test_every_node_is_in_one_place_and_what_others_took_links_to_it(chain):
    places = re.findall(r'<li class="[^"]*" id="(\w+)"', page(chain))
    assert sorted(places) == sorted(node["key"] for node in chain["nodes"])
    links = re.findall(r'href="#(\w+)"', page(chain))
    assert set(links) <= set(places)


def test_a_chain_begins_with_x_and_goes_back_run_by_run(chain):
    assert [section.run for section in sections(chain)] == [
        f"run-{number:05}" for number in range(CHAIN - 1, -1, -1)
    ]
    assert chain["begin"] == [sections(chain)[0].rows[0].key]


def test_a_store_that_goes_in_circles_is_drawn(graph):
    back = [{**e, "source": e["target"], "target": e["source"]} for e in graph["edges"][:5]]
    found = sections({**graph, "edges": [*graph["edges"], *back]})
    assert sum(len(section.own) for section in found) == len(graph["nodes"])


def test_on_a_phone_a_long_chain_fits_and_only_what_is_near_is_unfolded(chain, tmp_path):
    report = in_browser(
        page(chain),
        """
        const asked = document.querySelector("mark").closest("li");
        const opened = runs.filter((run) => run.open).length;
        const top = asked.getBoundingClientRect().top;
        const folded = document.documentElement.scrollHeight;
        document.querySelectorAll("details").forEach((details) => (details.open = true));
        const width = document.documentElement.scrollWidth;
        const cut = [...document.querySelectorAll("body *")]
          .filter((element) => element.scrollWidth > element.clientWidth && element.clientWidth)
          .map((element) => element.tagName);
        return { asked: asked.id, opened, top, folded, width, cut, screen: innerWidth };
        """,
        tmp_path,
    )
    assert [report["asked"]] == chain["begin"]
    assert report["screen"] == PHONE[0]
    assert report["width"] == PHONE[0]  # nothing to scroll sideways, even with all unfolded
    assert report["cut"] == []
    assert report["top"] < PHONE[1]
    assert 1 <= report["opened"] <= 3
    assert report["folded"] < 6000


def test_every_node_shows_its_date_and_its_properties_and_those_of_others_their_run(
    graph, tmp_path
):
    text = page(graph)
    assert "//" not in re.sub(r"(?s)<script>.*</script>", "", text)  # loads nothing
    shown, taken = in_browser(
        text,
        """
        const shown = rows.map((row) => [row.id, row.closest(".run").querySelector("b").textContent,
          row.querySelector("summary").textContent, row.textContent]);
        const taken = [...document.querySelectorAll("li.taken")].map((row) => row.textContent);
        return [shown, taken];
        """,
        tmp_path,
    )
    nodes = {node["key"]: node for node in graph["nodes"]}
    assert {key for key, *_ in shown} == nodes.keys()
    for key, run, summary, everything in shown:
        node = nodes[key]
        assert run == node["run"]
        assert (node.get("started") or node["created"])[:16].replace("T", " ") in summary
        assert all(name in everything for name in node["properties"])
    assert taken
    assert all(re.search(r"from run run-\d{5}", text) for text in taken)


def test_searching_unfolds_what_is_found_and_a_link_leads_to_its_place(chain, tmp_path):
    far = next(n for n in chain["nodes"] if n["run"] == "run-00003" and n["type"] == "Model")
    report = in_browser(
        page(chain),
        f"""
        const field = byId("search");
        field.value = "RUN-00003 trainer";
        field.dispatchEvent(new Event("input"));
        byId("next").click();
        const found = hits.map((row) => row.textContent);
        const hidden = hits.filter((row) => !row.closest(".run").open).length;
        const current = document.querySelector(".current").getBoundingClientRect().top;
        field.value = "nothing like it";
        field.dispatchEvent(new Event("input"));
        const none = [hits.length, byId("found").value];
        field.value = "";
        field.dispatchEvent(new Event("input"));
        const again = runs.filter((run) => run.open).length;
        location.hash = "{far["key"]}";
        follow();
        const row = byId("{far["key"]}");
        return {{ found, hidden, current, none, again, unfolded: row.closest(".run").open,
          open: row.querySelector("details").open, top: row.getBoundingClientRect().top }};
        """,
        tmp_path,
    )
    assert any(text.startswith("Trainer ") for text in report["found"])
    assert all("run-00003" in text or "Trainer" in text for text in report["found"])
    assert report["hidden"] == 0
    assert 0 <= report["current"] < PHONE[1]
    assert report["none"] == [0, "0 found"]
    assert report["again"] <= 3  # as it was before
    assert report["unfolded"]
    assert report["open"]
    assert 0 <= report["top"] < PHONE[1]


@pytest.mark.parametrize("flags", [(), ("--force-dark-mode",)])
def test_text_stands_out_in_the_dark_and_in_the_light(graph, tmp_path, flags):
    paper, ink = in_browser(
        page(graph),
        """
        const style = getComputedStyle(document.body);
        const light = (color) => color.match(/\\d+/g).reduce((sum, part) => sum + Number(part), 0);
        return [light(style.backgroundColor), light(style.color)];
        """,
        tmp_path, *flags,
    )  # fmt: skip
    assert abs(paper - ink) > 500
    assert (paper < ink) == bool(flags)


def test_a_large_data_set_is_one_node_with_its_counts(graph):
    for node in graph["nodes"]:
        if "num_train" in node["properties"]:
            node["properties"] |= {"num_train": 2960, "num_eval": 740}
    assert "3,700 images: 2,960 train, 740 eval" in page(graph)


def test_a_graph_cannot_inject_markup(sqlite_filled):
    answer = trace(sqlite_filled.open(), "run-00007")
    subject = dataclasses.replace(answer.subject, given="</script><i>@RUNS@")
    text = draw(dataclasses.replace(answer, subject=subject), "html")
    assert "<i>" not in text
    assert text.count("</script>") == 1


def test_a_name_that_is_not_utf8_is_no_problem(graph, tmp_path):
    text = page({**graph, "title": "b\u00e4r \udce9"})
    assert text.isascii()
    assert in_browser(text, "return document.title", tmp_path) == "b\u00e4r \ufffd"


def test_what_belongs_to_no_run_has_a_place_too(graph):
    nodes = [{**node, "run": None} for node in graph["nodes"]]
    (section,) = sections({**graph, "nodes": nodes})
    assert len(section.own) == len(section.rows) == len(nodes)
    assert "outside of the runs in this store" in page({**graph, "nodes": nodes})
