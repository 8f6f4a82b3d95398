"""What machines read about the project is made from what people read, and every form is valid."""
import json, os, re, subprocess, sys
from pathlib import Path

import pytest, yaml
from conftest import ROOT, committed_profiles
from nbdev.config import get_config
from rocrate.rocrate import ROCrate
from snakemake.exceptions import WorkflowError
from snakemake.utils import validate

from dd_lnl import metadata

PROFILES = committed_profiles()
profiles = pytest.mark.parametrize("home", PROFILES, ids=lambda home: home.name)
CITATION = yaml.safe_load((ROOT/"CITATION.cff").read_text())
SETTINGS = get_config(path=ROOT)


# The parts of the Citation File Format 1.2.0 that this project uses: which keys an entry may and must have.
PERSON = {"required": {"family-names", "given-names"}, "allowed": {"affiliation", "email", "orcid", "name-suffix"}}
ENTITY = {"required": {"name"}, "allowed": {"website", "email", "city", "country"}}
REFERENCE = {"required": {"type", "title", "authors"},
             "allowed": {"year", "identifiers", "repository-code", "abbreviation", "doi", "url", "journal", "notes"}}
SOFTWARE = {"required": {"cff-version", "message", "title", "authors"},
            "allowed": {"type", "abstract", "license", "keywords", "references", "version", "doi",
                        "date-released", "repository-code", "url", "identifiers", "commit", "contact"}}
KINDS_OF_IDENTIFIER = {"doi", "url", "swh", "other"}


def keys_out_of(form, entry):
    "The keys that an entry lacks, or that the format does not know."
    return sorted((form["required"] - entry.keys()) | (entry.keys() - form["required"] - form["allowed"]))


def citation_faults(citation):
    "What is wrong with a CITATION.cff."
    faults = keys_out_of(SOFTWARE, citation)
    faults += ["cff-version"] * (citation.get("cff-version") != "1.2.0")
    faults += ["type"] * (citation.get("type", "software") not in ("software", "dataset"))
    for entry in [citation, *citation.get("references", [])]:
        faults += keys_out_of(REFERENCE, entry) if entry is not citation else []
        for author in entry.get("authors", [{}]):
            faults += keys_out_of(ENTITY if "name" in author else PERSON, author)
        for identifier in entry.get("identifiers", []):
            faults += ["identifiers"] * (identifier.get("type") not in KINDS_OF_IDENTIFIER)
    return faults


def test_the_citation_is_valid():
    assert citation_faults(CITATION) == []
    assert (CITATION["version"], CITATION["repository-code"]) == (SETTINGS.version, SETTINGS.git_url)


@pytest.mark.parametrize("broken", [
    {"title": None}, {"colour": "red"}, {"cff-version": "1.0"}, {"authors": [{"family-names": "Doe"}]},
    {"references": [{"type": "article", "title": "A"}]}])
def test_a_broken_citation_is_seen(broken):
    changed = {name: value for name, value in (CITATION | broken).items() if value is not None}
    assert citation_faults(changed)


@pytest.mark.slow
def test_the_citation_is_valid_for_cffconvert(tmp_path):
    "In an environment of its own, because cffconvert wants an old jsonschema."
    import venv
    venv.create(tmp_path/"venv", with_pip=True)
    pip = [tmp_path/"venv/bin/python", "-m", "pip", "install", "-q"]
    subprocess.run([*pip, "cffconvert", "setuptools<81"], check=True)
    ended = subprocess.run([tmp_path/"venv/bin/cffconvert", "--validate", "-i", ROOT/"CITATION.cff"],
                           capture_output=True, text=True, env={**os.environ, "PYTHONPATH": ""})
    assert ended.returncode == 0 and "valid" in ended.stdout, ended.stderr


@profiles
def test_a_profile_is_a_crate(home):
    crate = ROCrate(home)
    assert crate.root_dataset["license"] and crate.root_dataset["datePublished"] and crate.root_dataset["description"]
    parts = [entity.id for entity in crate.data_entities]
    assert "records/" in parts and "figures/figure_2.png" in parts
    assert [part for part in parts if not (home/part).exists()] == []
    notebooks = [Path(part).stem for part in parts if part.startswith("notebooks/")]
    assert all(metadata.owner_of(name) for name in notebooks) # those of cells are not in the repository
    named = {entity.id for entity in crate.data_entities}
    drawn = {f"figures/{path.name}" for path in (home/"figures").glob("*.png")}
    assert drawn <= named # a new figure: `dd_lnl figures` or `make metadata` describes it
    [action] = [entity for entity in crate.contextual_entities if entity.type == "CreateAction"]
    assert action["name"].startswith(f"dd_lnl reproduce --profile {home.name}")


def test_a_crate_that_promises_too_much_is_seen(tmp_path):
    graph = metadata.crate(PROFILES[0])
    (tmp_path/metadata.CRATE).write_text(json.dumps(graph))
    crate = ROCrate(tmp_path)
    assert [entity.id for entity in crate.data_entities if not (tmp_path/entity.id).exists()]


CODEMETA_TERMS = { # of CodeMeta 3.0
    "name", "description", "version", "license", "codeRepository", "author", "keywords", "programmingLanguage",
    "runtimePlatform", "operatingSystem", "softwareRequirements", "developmentStatus", "readme", "referencePublication"}


def test_the_software_is_described():
    described = json.loads((ROOT/"codemeta.json").read_text())
    assert described == metadata.codemeta(ROOT) # else: make metadata
    assert described.pop("@context") == "https://w3id.org/codemeta/3.0"
    assert described.pop("@type") == "SoftwareSourceCode" and set(described) <= CODEMETA_TERMS
    assert (described["name"], described["version"]) == (SETTINGS.lib_name, SETTINGS.version)
    assert described["referencePublication"]["name"] == CITATION["references"][0]["title"]


@pytest.mark.usefixtures("committed_results")
def test_what_a_checker_reads_is_what_would_be_made_now():
    assert (ROOT/"codecheck.yml").read_text() == metadata.metadata_files(ROOT)["codecheck.yml"] # else: make metadata


def test_a_checker_finds_every_figure_and_table():
    check = yaml.safe_load((ROOT/"codecheck.yml").read_text())
    listed = {entry["file"] for entry in check["manifest"]}
    made = {path.relative_to(ROOT).as_posix() for home in PROFILES
            for path in [*(home/"figures").glob("*.png"), *(home/"tables").glob("*.csv")]}
    assert listed == made and check["version"] == "https://codecheck.org.uk/spec/config/1.0/"
    for entry in check["manifest"]:
        assert entry["comment"] and entry["command"].startswith("dd_lnl reproduce") and entry["core_minutes"] > 0
        assert 0 < entry["tolerance_in_points"]["median"] <= entry["tolerance_in_points"]["largest"]


def lint(snakefile, tmp_path):
    "What Snakemake finds in a workflow."
    (tmp_path/"plan.json").write_text('{"settings": {}, "figures": {}, "python": "python", "place": "."}')
    command = [sys.executable, "-m", "snakemake", "--lint", "--snakefile", snakefile, "--directory", tmp_path,
               "--config", f"plan={tmp_path}/plan.json"]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_workflow_is_as_its_catalogue_wants_it(tmp_path):
    ended = lint(ROOT/"Snakefile", tmp_path)
    assert ended.returncode == 0 and "good condition" in ended.stderr + ended.stdout, ended.stderr
    catalogue = yaml.safe_load((ROOT/".snakemake-workflow-catalog.yml").read_text())
    assert {"mandatory-flags", "software-stack-deployment", "report"} == catalogue["usage"].keys()
    assert (ROOT/"config/README.md").exists()


def test_a_workflow_without_a_log_is_seen(tmp_path):
    (tmp_path/"config").mkdir()
    (tmp_path/"config/schema.yaml").write_text((ROOT/"config/schema.yaml").read_text())
    text = re.sub(r"^    log:.*\n", "", (ROOT/"Snakefile").read_text(), flags=re.M).replace("{log:q}", "log")
    (tmp_path/"Snakefile").write_text(text)
    assert lint(tmp_path/"Snakefile", tmp_path).returncode


@pytest.mark.parametrize("config, fault", [
    ({"plan": 3}, "is not of type 'string'"), ({}, "'plan' is a required property"),
    ({"plan": "a.json", "profile": "b"}, "Additional properties are not allowed")])
def test_a_wrong_configuration_is_refused(config, fault):
    with pytest.raises(WorkflowError, match=fault):
        validate(config, ROOT/"config/schema.yaml")


def test_the_workflow_checks_its_configuration(tmp_path):
    snakemake = [sys.executable, "-m", "snakemake", "settings", "-n", "--snakefile", ROOT/"Snakefile"]
    ended = subprocess.run([*snakemake, "--directory", tmp_path], capture_output=True, text=True)
    assert ended.returncode and "'plan' is a required property" in ended.stderr + ended.stdout


def test_a_container_makes_the_same_environment(tmp_path):
    container = json.loads((ROOT/".devcontainer/devcontainer.json").read_text())
    assert f"python:{SETTINGS.min_python}" in container["image"]
    dry = subprocess.run([*container["postCreateCommand"].split(), "--dry-run", "--always-make"], cwd=ROOT,
                         capture_output=True, text=True)
    assert dry.returncode == 0 and "--require-hashes -r requirements.lock" in dry.stdout


def test_binder_takes_the_lock():
    binder = ROOT/".binder"
    assert (binder/"runtime.txt").read_text().strip() == f"python-{SETTINGS.min_python}"
    assert (binder/"requirements.txt").read_text().split() == ["-r", "../requirements.lock"]
    assert os.access(binder/"postBuild", os.X_OK) and "--no-deps" in (binder/"postBuild").read_text()
