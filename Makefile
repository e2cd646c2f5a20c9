# Every target installs what it needs into .venv first; all that must be here is python3 (3.11 or newer, with venv).
# A newer Python beside an old python3: make PYTHON=python3.12 demo

PYTHON ?= python3
INSTALLED := .venv/installed

.PHONY: demo test lab figures lint bench clean

demo test lab figures: $(INSTALLED)
	@.venv/bin/python -m mer_kit $@

lint: $(INSTALLED)
	.venv/bin/ruff check .

bench: $(INSTALLED)
	@for run in extraction.py cached_epoch.py training_step.py "training_step.py --device cuda --preset paper" \
		growth.py; do echo "$$run"; .venv/bin/python benchmarks/$$run || exit 1; done

clean:
	rm -rf build .pytest_cache .ruff_cache .hypothesis
	find . -path ./.venv -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +

$(INSTALLED): requirements.txt pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not here; mer_kit needs Python 3.11 or newer"; exit 1; }
	@$(PYTHON) -m mer_kit.install
