# Two commands do everything on a fresh Linux machine with Python 3.11 to 3.13:
#   make artifact   sets up .venv from requirements.lock, runs the digits profile anew, draws its figures, builds a report,
#                   and compares all cells with those that were there before; it starts anew each time, so an
#                   interrupted one continues with `.venv/bin/dd_lnl reproduce` and ends with `.venv/bin/dd_lnl verify`
#   make test       sets up .venv if needed, runs every chapter and every test but those marked slow or cuda
# and a third makes a site of all that is there, to be read in a browser:
#   make docs       _docs/index.html
SHELL := bash
.SHELLFLAGS := -o pipefail -c
PYTHON ?= python3
PROFILE ?= digits
BIN := .venv/bin
HOME_OF_PROFILE := outputs/$(basename $(notdir $(PROFILE)))

.PHONY: artifact test docs export lock readme metadata
artifact: .venv/ready
	$(BIN)/dd_lnl reproduce --profile $(PROFILE) --fresh
	@if compgen -G '$(HOME_OF_PROFILE)/superseded*/records' > /dev/null || git cat-file -e 'HEAD:./$(HOME_OF_PROFILE)/records' 2> /dev/null; \
	then $(BIN)/dd_lnl verify --profile $(PROFILE); fi

test: .venv/ready
	$(BIN)/python -m pytest -n 2 --dist loadfile

docs: .venv/ready
	$(BIN)/python -c "from dd_lnl.docs import build_docs; print(build_docs())"

# From the notebooks to everything that is made of them: package, clean notebooks, README.
export: .venv/ready readme metadata
	$(BIN)/nbdev_export
	$(BIN)/nbdev_clean

readme: .venv/ready
	$(BIN)/python -m nbconvert --to markdown --no-input --stdout --log-level WARN nbs/index.ipynb | sed 's#](\.\./#](#g; s#src="\.\./#src="#g' | cat -s > README.md

# What machines read: codemeta.json, codecheck.yml, and the crate of every profile.
metadata: .venv/ready
	$(BIN)/python -c "from dd_lnl.metadata import write_metadata; write_metadata()"

# Everything that settings.ini requires, the extras included; versions that are locked already stay as they are.
lock: .venv/ready
	$(BIN)/python -c "import configparser as c; s = c.ConfigParser(delimiters=['=']); s.read('settings.ini'); print(*(r for k, v in s['DEFAULT'].items() if k.endswith('requirements') for r in v.split()), sep='\n')" \
	| $(BIN)/uv pip compile - --universal --generate-hashes --no-header --no-annotate --python-version 3.11 -q -o requirements.lock

# uv leaves installed packages alone when the lock has not changed, so this step is short after the first time.
# They are compiled at once: every kernel imports them, and two that start together would each compile them anew.
.venv/ready: requirements.lock settings.ini setup.py
	@$(PYTHON) -c "import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else f'dd_lnl needs Python 3.11 to 3.13, but {sys.executable} is {v[0]}.{v[1]}: name another with make PYTHON=python3.12 ...')"
	@$(PYTHON) -m venv .venv || { echo 'No virtual environment could be made. On Debian and Ubuntu: apt install python3-venv'; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==0.13.9
	VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/uv pip install --quiet --compile-bytecode --require-hashes -r requirements.lock
	VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/uv pip install --quiet --no-deps -e .
	@touch $@
