"""The report of a fit: a page that needs nothing else, whose numbers are those of its JSON, and those of the model."""

import json
import re
import sys
import tomllib
from html.parser import HTMLParser

import numpy as np
import pytest
import typer
from training_tools import E0, PAIR, SOAP, configuration, isolated, toy_frames, write_frames
from typer.testing import CliRunner

from soapgap.cli.report import report as report_command
from soapgap.config.data import DataConfig
from soapgap.config.toml import to_toml, without_empty
from soapgap.data.dataset import read_dataset
from soapgap.errors import InputError
from soapgap.fitting import fit
from soapgap.learn.errors import Comparison, compare, errors
from soapgap.model import Model
from soapgap.model.companions import OutputFiles
from soapgap.potential import Potential
from soapgap.report.file import ReportInput, write_report
from soapgap.report.numbers import errors_by, outliers
from soapgap.report.plots import parity
from soapgap.report.run import make_report
from soapgap.report.sections import SECTIONS, TEXTS
from soapgap.report.tables import decimals, pointer, significant
from soapgap.report.tuning import read_tuning


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A small model of silicon and carbon with its data; one force of the test data is wrong by 7 eV/A."""
    folder = tmp_path_factory.mktemp("fitted")
    train = [isolated("Si"), isolated("C"), *toy_frames(16, seed=7, species=("Si", "C"))]
    for k, atoms in enumerate(train):
        atoms.info["config_type"] = "hot/liquid" if k % 2 else "cold"
    write_frames(folder / "train.xyz", train)
    test = toy_frames(4, seed=8, species=("Si", "C"))
    test[2].calc.results["forces"][5, 1] += 7.0
    write_frames(folder / "test.xyz", test)
    config = configuration(folder, [PAIR, SOAP | {"n_sparse": 25}], data={"test": str(folder / "test.xyz")})
    fit(config, quiet=True, threads=1)
    return folder


@pytest.fixture(scope="module")
def written(fitted):
    """The report of this model with everything that a report can show: its page and its JSON."""
    from matplotlib.figure import Figure

    figure = Figure()
    figure.subplots().plot(np.arange(9.0), "o")
    source = source_of(fitted)
    source.sparse_map = [("environments of Si <&>", figure)]
    source.learning_curve = [{"n_frames": n, "errors": {"force": {"rmse": 1.0 / n, "lowest": 0.7 / n, "highest": 2.0 / n}}}
                             for n in (4, 8, 16)]
    source.tuning = [{"parameters": {"delta": d, "kind": "soap"}, "objective": o, "rmse": {"force": 0.1 * d}, "seconds": 1.5}
                     for d, o in ((1.0, 12.25), (2.0, None), (0.5, float("nan")), (3.0, 10.5))]
    source.condition = {"whole system": {"condition": 3.2e9}, "K_MM of soap/Si": {"condition": float("inf"), "jitter": 1e-8}}
    source.seconds = {"reading": 0.25, "design matrix and QR": 2.5}
    source.planned_seconds, source.planned_bytes, source.peak_bytes = 3.0, 5 * 2**20, 6 * 2**20
    source.warnings = ["a warning with <tags> & signs"]
    html, numbers = fitted / "all.html", fitted / "all.json"
    result = write_report(html, numbers, source)
    assert result.lines == []
    return html.read_text(), json.loads(numbers.read_text())


def source_of(folder):
    model = Model.load(folder / "model.safetensors")
    sets = {label: read_dataset([str(folder / f"{label}.xyz")], DataConfig(train=["x"])) for label in ("train", "test")}
    comparisons = {label: compare(model, data.structures) for label, data in sets.items()}
    return ReportInput(model, "model.safetensors", sets["train"], comparisons, sets["test"], model.provenance["config"])


class Page(HTMLParser):
    """Tags with their attributes, ids, the texts of headings, and every <data> element."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.headings, self.numbers, self.cells = [], [], [], [], []
        self._heading = self._number = None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append((tag, attributes))
        if "id" in attributes:
            self.ids.append(attributes["id"])
        if tag == "h2":
            self._heading = ""
        if tag == "data":
            self._number = [attributes["data-at"], attributes["value"], ""]

    def handle_data(self, data):
        if self._heading is not None:
            self._heading += data
        if self._number is not None:
            self._number[2] += data

    def handle_endtag(self, tag):
        if tag == "h2":
            self.headings.append(self._heading)
            self._heading = None
        if tag == "data":
            self.numbers.append(tuple(self._number))
            self._number = None


@pytest.fixture(scope="module")
def page(written):
    return Page(written[0])


# ---- the page -----------------------------------------------------------------------------------------------------

def test_nothing_is_fetched(written, page):
    """No script, no link, no address: everything that an attribute or a style names is on the page or in it."""
    text = written[0]
    assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object", "embed", "base", "form"}
    for tag, attributes in page.tags:
        for name in ("src", "href", "xlink:href", "srcset", "poster", "action", "background"):
            target = attributes.get(name, "#")
            assert target.startswith(("#", "data:image/")), (tag, name, target[:80])
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", text))
    assert "@import" not in text
    assert not re.search(r"https?:|//[a-z]", re.sub(r'"data:image/[^"]*"', "", text))


def test_every_section_is_there(page):
    assert [key for key in page.ids if key in TEXTS] == list(TEXTS)
    assert len(SECTIONS) == len(TEXTS)
    assert page.headings == [title for title, _ in TEXTS.values()]
    links = [a["href"] for tag, a in page.tags if tag == "a"]
    assert links == [f"#{key}" for key in TEXTS]


def test_ids_are_unique_and_references_hit_one(page, written):
    assert len(page.ids) == len(set(page.ids))
    wanted = {a[name][1:] for _, a in page.tags for name in ("href", "xlink:href") if a.get(name, "").startswith("#")}
    wanted |= set(re.findall(r"url\(#([^)]*)\)", written[0]))
    assert wanted <= set(page.ids)


def test_numbers_are_those_of_the_json(page, written):
    """Every number on the page names its place in the JSON, has that value, and shows it rounded."""
    content, seen = written[1], set()
    assert len(page.numbers) > 150
    for at, value, text in page.numbers:
        found = content
        for part in at.split("/")[1:]:
            part = part.replace("~1", "/").replace("~0", "~")
            found = found[int(part)] if isinstance(found, list) else found[part]
        assert float(value) == found, at
        seen.add(at.split("/")[1])
        digits = re.match(r"-?[\d.]+(·10)?", text.replace("−", "-").replace("\u2009", ""))
        if digits and not digits[1] and not at.endswith(("_bytes", "planned_seconds")):
            shown = float(digits[0])
            factor = 33.35641 if at.endswith("highest") and abs(shown) > 20 * abs(found) else 1.0
            decimals_ = len(digits[0].partition(".")[2])
            assert shown == pytest.approx(found * factor, abs=0.5001 * 10.0**-decimals_), (at, text)
    assert {"errors", "data", "checks", "cost", "condition", "tuning", "learning_curve", "model", "outliers"} <= seen


def test_figures_follow_the_page(written, page):
    """Drawings stand in the page, with its colours; no two of them share an id; a picture of others is embedded."""
    drawings = [a for tag, a in page.tags if tag == "svg"]
    assert len(drawings) >= 6 + 3 + 1 + 1
    assert all(a["role"] == "img" and a["aria-label"] and "viewbox" in a and "width" not in a for a in drawings)
    assert "var(--train)" in written[0]
    assert not re.search(r"#0[123]0[123]0[123]\b", written[0])
    (picture,) = [a for tag, a in page.tags if tag == "img" and a["alt"].startswith("environments")]
    assert picture["src"].startswith("data:image/")


def test_words_are_escaped(written):
    assert "a warning with &lt;tags&gt; &amp; signs" in written[0]
    assert "environments of Si &lt;&amp;&gt;" in written[0]


def test_settings_are_whole(written, fitted):
    """The configuration on the page is a `fit.toml` and says what the model says."""
    import html

    (block,) = re.findall(r"<pre>(.*?)</pre>", written[0], re.DOTALL)

    def without_null(value):
        if isinstance(value, dict):
            return {key: without_null(item) for key, item in value.items() if item is not None and item != {}}
        return [without_null(item) for item in value] if isinstance(value, list) else value

    config = Model.load(fitted / "model.safetensors").provenance["config"]
    assert without_null(tomllib.loads(html.unescape(block))) == {"output": "model.safetensors"} | without_null(config)


# ---- the numbers --------------------------------------------------------------------------------------------------

def test_errors_are_those_of_the_fit(written, fitted):
    table = json.loads((fitted / "model.safetensors.errors.json").read_text())["errors"]
    for label, groups in table.items():
        own = written[1]["errors"][label]["by_config_type"]
        for group, quantities in groups.items():
            for quantity, entry in quantities.items():
                for measure, value in entry.items():
                    assert own[group][quantity][measure] == pytest.approx(value, rel=1e-9)


def test_errors_by_species(written, fitted):
    """Forces of carbon and of silicon apart, from predictions made one by one."""
    potential = Potential(fitted / "model.safetensors", n_threads=1)
    differences = {"Si": [], "C": []}
    for s in read_dataset([str(fitted / "test.xyz")], DataConfig(train=["x"])).structures:
        d = potential.compute(s.atoms).forces - s.forces
        for symbol, rows in differences.items():
            rows.append(d[np.array(s.symbols) == symbol].ravel())
    for symbol, rows in differences.items():
        d = np.abs(np.concatenate(rows))
        entry = written[1]["errors"]["test"]["by_species"][symbol]["force"]
        assert entry["n"] == len(d)
        assert entry["mae"] == pytest.approx(d.mean(), rel=1e-9)
        assert entry["rmse"] == pytest.approx(np.sqrt(np.mean(d**2)), rel=1e-9)
        assert entry["max"] == pytest.approx(d.max(), rel=1e-9)
        assert entry["p90"] == pytest.approx(np.percentile(d, 90), rel=1e-9)
    assert "" not in written[1]["errors"]["test"]["by_species"]


def test_the_outlier_is_found(written):
    """The wrong force is first, with its frame and atom; no frame appears twice."""
    worst = written[1]["outliers"]["test"]["force"]
    assert worst[0]["frame"].endswith("test.xyz, frame 2")
    assert worst[0]["atom"] == 5
    assert worst[0]["error"] == pytest.approx(7.0, abs=1.0)
    assert worst[0]["times_rmse"] > 4.0
    assert len({entry["frame"] for entry in worst}) == len(worst) == 4
    assert [e["error"] for e in worst] == sorted((e["error"] for e in worst), reverse=True)


def test_where_the_values_belong():
    """Species, frames and atoms of a comparison, with a mask; groups are told apart; outliers of virials name a component."""
    n = 12
    reference = np.zeros(n)
    predicted = np.arange(n) * 0.01
    c = Comparison(reference, predicted, np.full(n, "t"), np.full(n, ""), np.repeat([0, 1], 6), np.full(n, -1))

    class Data:
        structures = [type("S", (), {"where": f"x.xyz, frame {k} (counted from 0)", "config_type": "t"}) for k in range(2)]

    entries = outliers(c, "virial", Data)
    assert [(e["frame"], e["component"]) for e in entries] == [("x.xyz, frame 1", "xy"), ("x.xyz, frame 0", "xy")]
    assert all(e["atom"] is None and e["species"] is None for e in entries)
    assert entries[0]["error"] == pytest.approx(110.0)  # meV
    assert errors_by({"virial": c}, "species") == {}


def test_masked_forces_keep_their_atoms(fitted, tmp_path):
    atoms = toy_frames(1, seed=4)[0]
    mask = np.zeros(8, bool)
    mask[[0, 3]] = True
    atoms.arrays["force_mask"] = mask
    write_frames(tmp_path / "one.xyz", [atoms])
    data = read_dataset([str(tmp_path / "one.xyz")], DataConfig(train=["x"]))
    model = Model.load(fitted / "model.safetensors")
    c = compare(model, data.structures)["force"]
    assert c.atoms.tolist() == np.repeat([1, 2, 4, 5, 6, 7], 3).tolist()
    assert set(c.species) == {"Si"}
    assert compare(model, data.structures)["energy"].species.tolist() == [""]


def test_what_is_not_finite_is_null(written):
    assert written[1]["condition"]["K_MM of soap/Si"]["condition"] is None
    assert [t["objective"] for t in written[1]["tuning"]["trials"]] == [12.25, None, None, 10.5]


def test_histograms_count_everything(written):
    for quantity, histogram in written[1]["histograms"].items():
        for label in ("train", "test"):
            n = written[1]["errors"][label]["by_config_type"]["all"][quantity]["n"]
            assert sum(histogram[label]["counts"]) + histogram[label]["outside"] == n


def test_trials_of_the_log(tmp_path):
    """Those of these data, with the last objective, on all frames; the last learning curve."""
    def trial(data, objective, n_frames, value):
        errors = {"all": {"force": {"n": 9, "rmse": 0.1 * value}}}
        return {"event": "trial", "data_sha256": data, "objective": objective, "n_frames": n_frames, "value": value,
                "settings": {"terms[1].cutoff": 4.0 + value}, "errors": errors, "seconds": {"rows": 1.0, "tuning": 0.5}}

    curve = {"event": "learning curve", "result": {"sizes": [4, 8], "seeds": 2, "errors": {"force": [[3.0, 4.0], [1.0, 1.0]]}}}
    lines = [trial("ours", "kfold", 9, 5.0), trial("others", "kfold", 9, 1.0), trial("ours", "likelihood", 9, 2.0),
             trial("ours", "kfold", 3, 0.5), trial("ours", "kfold", 9, 4.0), curve]
    (tmp_path / "log").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"killed')
    found = read_tuning(tmp_path / "log", "ours")
    assert [t["objective"] for t in found["tuning"]] == [5.0, 4.0]
    assert found["tuning"][1] == {"parameters": {"terms[1].cutoff": 8.0}, "objective": 4.0, "rmse": {"force": 0.4},
                                  "seconds": 1.5}
    forces = found["learning_curve"][0]["errors"]["force"]
    assert forces == pytest.approx({"rmse": np.sqrt(12.5), "lowest": 3.0, "highest": 4.0})
    assert read_tuning(tmp_path / "log", "unknown") == read_tuning(tmp_path / "none", "ours") == {}


# ---- files, sizes, failures -------------------------------------------------------------------------------------------

def test_a_million_values_stay_small():
    rng = np.random.default_rng(0)
    reference = rng.standard_normal(1_000_000)
    c = Comparison(reference, reference + 0.05 * rng.standard_normal(len(reference)), np.full(len(reference), "t"))
    assert len(parity("force", {"train": {"force": c}, "test": {"force": c}})) < 300_000


def test_without_matplotlib_the_numbers_are_written(fitted, tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.startswith(("matplotlib", "soapgap.report.page"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = write_report(tmp_path / "m.report.html", tmp_path / "m.report.json", source_of(fitted))
    assert [p.name for p in tmp_path.iterdir()] == ["m.report.json"]
    assert result.lines == ["no HTML report: matplotlib is not installed (pip install 'soapgap[plot]')"]
    assert json.loads((tmp_path / "m.report.json").read_text()) == result.content


def test_the_command(fitted, tmp_path):
    """`soapgap report MODEL data --test test`: both files, the table, and the warnings."""
    app = typer.Typer()
    app.command()(report_command)
    arguments = [fitted / "model.safetensors", fitted / "train.xyz", "--test", fitted / "test.xyz", "--threads", "1",
                 "--output", tmp_path / "page.html"]
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    assert done.exit_code == 0, done.output
    assert "meV/atom" in done.output
    content = json.loads((tmp_path / "page.json").read_text())
    assert content["config"]["terms"][1]["n_max"] == SOAP["n_max"]
    assert content["model"]["e0"] == pytest.approx(E0, abs=1e-6)
    assert content["data"]["train"]["species"] == {"C": content["data"]["train"]["species"]["C"], "Si":
                                                   130 - content["data"]["train"]["species"]["C"]}
    assert (tmp_path / "page.html").stat().st_size < 1_000_000
    for text in content["warnings"]:
        assert text[:40] in done.output


def test_report_beside_the_model_and_without_test_data(fitted):
    result = make_report(fitted / "model.safetensors", [fitted / "train.xyz"], threads=1)
    files = OutputFiles(fitted / "model.safetensors")
    assert files.report in files.companions
    assert files.report_data in files.companions
    assert "There are no test data" in files.report.read_text()
    assert list(result.content["errors"]) == ["train"]


def test_wrong_input_of_the_report(fitted, tmp_path):
    model, train = fitted / "model.safetensors", fitted / "train.xyz"
    with pytest.raises(InputError, match="is an input of this report"):
        make_report(model, [train], output=train)
    with pytest.raises(InputError, match="expected the name of an HTML file"):
        make_report(model, [train], output=tmp_path / "report.json")
    with pytest.raises(InputError, match="no frame has 'Energy'"):
        make_report(model, [train], output=tmp_path / "a.html", energy_key="Energy")
    strange = isolated("Si")
    strange.set_chemical_symbols(["Ge"])
    write_frames(tmp_path / "ge.xyz", [strange])
    with pytest.raises(InputError, match="contains Ge; the model knows C, Si"):
        make_report(model, [tmp_path / "ge.xyz"], output=tmp_path / "a.html")
    with pytest.raises(InputError, match="written over an input"):
        OutputFiles(tmp_path / "m").refuse_inputs([tmp_path / "m.report.json"])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ge.xyz"]


def test_the_template_belongs_to_the_package():
    from importlib.resources import files

    assert (files("soapgap.report") / "data" / "report.html.j2").is_file()


# ---- small parts --------------------------------------------------------------------------------------------------

def test_numbers_in_words():
    assert [significant(x) for x in (0.0, 0.012345, 12.345, 1234.5, -0.5, 3.2e9, 1e-8)] == [
        "0", "0.0123", "12.3", "1234", "−0.500", "3.2·10⁹", "1.0·10⁻⁸"]
    assert decimals([0.0123, 4.5, None]) == decimals([1.0]) == 2
    assert pointer("a", 0, "b/c~d") == "/a/0/b~1c~0d"


def test_toml():
    config = {"a": 1, "none": None, "b": [0.5, True], "s": 'x "y"', "odd key": {"Si-O": {"inner": 0.6}}, "t": [{"n": {"Si": 3}},
                                                                                                      {"n": 4}], "empty": {}}
    text = to_toml(without_empty(config))
    assert tomllib.loads(text) == {"a": 1, "b": [0.5, True], "s": 'x "y"', "odd key": {"Si-O": {"inner": 0.6}},
                                   "t": [{"n": {"Si": 3}}, {"n": 4}]}


def test_errors_of_one_group_are_all():
    """One config_type: `errors` leaves it out, the report shows it; the numbers agree."""
    c = Comparison(np.zeros(3), np.array([0.001, -0.002, 0.002]), np.full(3, "a"))
    ours, theirs = errors_by({"energy": c}, "types"), errors({"energy": c})
    assert ours["all"]["energy"]["rmse"] == ours["a"]["energy"]["rmse"] == pytest.approx(theirs["all"]["energy"]["rmse"])
