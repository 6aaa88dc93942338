# The developer's interface; `make help` lists it. Everything is installed into .venv from requirements.lock.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip --disable-pip-version-check --quiet
DEMO_RUN := demo-$(shell date +%Y%m%d-%H%M%S)
DEMO_MINUTES ?= 1.5
DEMO_ROUNDS ?= 100
PLAY_DIR ?= runs/play
PICTURES ?= runs/pictures
PLAY_GAMES ?= 4
QUICK := tests/test_arrows.py tests/competitor/test_screen.py tests/competitor/test_errors.py tests/competitor/evaluate \
	tests/competitor/play tests/competitor/players tests/competitor/wire tests/end_to_end/test_terminals.py

# torch, MKL, oneDNN and this project's own C code, held to what every processor of the last ten years has.
AVX2_ONLY := ATEN_CPU_CAPABILITY=avx2 MKL_ENABLE_INSTRUCTIONS=AVX2 ONEDNN_MAX_CPU_ISA=AVX2 \
	HOCKEY_DREAMER_TARGET="-mavx2 -mfma"

.DEFAULT_GOAL := help
.PHONY: help install demo play pictures test quick check format lock clean

help: ## show this list
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/:[^#]*## */\t/' | expand -t 12

install: .venv/.installed ## install the pinned packages and this project into .venv

.venv/.installed: requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing into .venv (the first time takes a minute or two)"
	@$(PIP) install -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

demo: install ## train a short self-play run, evaluate it and the champion: 6 minutes at most
	$(BIN)/python cli.py train --preset demo --minutes $(DEMO_MINUTES) --run $(DEMO_RUN)
	$(BIN)/python cli.py evaluate runs/$(DEMO_RUN)/checkpoints/latest.safetensors \
		--against weak,strong --rounds $(DEMO_ROUNDS) --json runs/$(DEMO_RUN)/evaluation.json
	$(BIN)/python cli.py evaluate champion \
		--against weak,strong --rounds $(DEMO_ROUNDS) --json runs/$(DEMO_RUN)/champion.json
	@echo
	@echo "The run lies in runs/$(DEMO_RUN): settings, metrics.jsonl, tensorboard/, league/, checkpoints/."
	@echo "The results: runs/$(DEMO_RUN)/evaluation.json and runs/$(DEMO_RUN)/champion.json."

# The arena gets a session of its own, so that Ctrl-C reaches the daemon alone; whatever happens, the trap closes it.
play: install ## a tournament on this machine: arena with house bots, four matches of the shipped agent, a table
	@mkdir -p $(PLAY_DIR)
	@set -e; umask 077; log=$(PLAY_DIR)/arena.log; : > $$log; \
	setsid $(BIN)/python cli.py arena --directory $(PLAY_DIR)/arena --user me --bots weak,strong \
		--comprl-port 0 --http-port 0 > $$log 2>&1 & arena=$$!; \
	trap 'kill $$arena 2> /dev/null || :; wait $$arena || :' EXIT; trap 'exit 130' INT TERM; \
	until grep -q '^the arena is open' $$log; do \
		kill -0 $$arena 2> /dev/null || { cat $$log; exit 1; }; sleep 0.2; \
	done; \
	grep '^leaderboard' $$log; \
	$(BIN)/python cli.py compete champion --server $$(grep -o 'ws://[^ ]*' $$log) \
		--token-file $(PLAY_DIR)/arena/tokens/me --records $(PLAY_DIR)/records --games $(PLAY_GAMES)
	@$(BIN)/python cli.py matches $(PLAY_DIR)/records --last $(PLAY_GAMES)
	@watch="$(BIN)/python cli.py watch $(PLAY_DIR)/records --port 0"; \
	if [ -t 1 ]; then exec $$watch; else echo "watch them: $$watch"; fi

pictures: install ## draw the pictures of README and docs anew (10 minutes; those of pages need Chromium)
	rm -rf $(PICTURES)
	$(BIN)/python cli.py evaluate champion --against strong --rounds 8 --seed 4 --record $(PICTURES)
	$(BIN)/python cli.py watch "$$(ls -S $(PICTURES)/*-won.npz | head -1)" --export docs/round.gif
	$(BIN)/python cli.py inspect champion --png docs/dream.png --gif docs/dream.gif
	$(BIN)/python benchmarks/pictures.py $(PICTURES)

test: check ## run every check and every test; ends with pytest's summary
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2
	@echo "the numeric tests once more, with all arithmetic held to AVX2"
	@OMP_NUM_THREADS=1 $(AVX2_ONLY) $(BIN)/python -m pytest --numprocesses 2 -m "numeric and not slow"

quick: install ## the part of the suite that tells most (50 s of processor time)
	$(BIN)/ruff check .
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 $(QUICK)

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install ## correct what ruff can correct, and lay all code out
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: ## renew requirements.lock from pyproject.toml's ranges, in a fresh .venv (torch keeps its pin)
	rm -rf .venv
	$(PYTHON) -m venv .venv
	$(PIP) install "$$(grep '^torch==' requirements.lock)" hatchling editables --editable '.[dev,render]'
	(echo "# Exact versions of all that pyproject.toml asks for; \`make lock\` renews them."; \
		$(PIP) freeze --all --exclude pip --exclude-editable | tr A-Z_ a-z- | sed 's/+[a-z0-9.]*$$//') > requirements.lock.new
	mv requirements.lock.new requirements.lock

clean: ## remove .venv and caches; runs/ stays
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
