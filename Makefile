# The commands of a checkout. Everything runs in .venv, which `make env` makes.
# Variables:
#   PYTHON=python3.12   makes .venv with it (a new .venv: python3; else kept)
#   MMCV=full | lite    mmcv with compiled ops or without (a new .venv: lite;
#                       else kept); MMCV_WHEEL=FILE is taken instead of a build
#   STACK=onedl         the maintained forks of OpenMMLab, in .venv-onedl
#   ARGS='-k cost'      arguments for pytest (test), tools/demo.py (demo,
#                       demo-seg) or the first of the benchmarks (speed, gpu,
#                       benchmark)
.DEFAULT_GOAL := help
.PHONY: help env demo demo-seg test lint docs speed gpu benchmark clean
VENV_PYTHON := .venv/bin/python
ARGS ?=
ifneq ($(filter-out onedl,$(STACK)),)
$(error STACK=$(STACK) is unknown: onedl, or leave it out)
endif
ifeq ($(STACK),onedl)
VENV_PYTHON := .venv-onedl/bin/python
endif

help:  ## List the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' $(firstword $(MAKEFILE_LIST)) \
		| expand -t 11
	@sed -n '/^# Variables/,/^[^#]/s/^# *//p' $(firstword $(MAKEFILE_LIST))

env:  ## Make .venv, or bring it up to date
	@$(or $(PYTHON),python3) requirements/make_env.py
	@$(if $(STACK),$(MAKE) --no-print-directory .venv-onedl/done)

# Makes an environment that has what .venv has as well, behind its own: by its
# .pth files setuptools stands in for distutils, from Python 3.12 on.
define beside_venv
	.venv/bin/python -m venv --clear $(@D)
	.venv/bin/python -c 'import site; (path,) = site.getsitepackages(); \
		print(f"import site; site.addsitedir({path!r})")' \
		> $$(echo $(@D)/lib/python3*/site-packages)/project.pth
endef

# The forks; mmcv without compiled ops.
.venv-onedl/done: requirements/onedl.txt .venv/eavit_mm.json
	$(beside_venv)
	.venv-onedl/bin/python -m pip install --no-deps -r $<
	@touch $@

demo: env  ## Run the demo
	@$(VENV_PYTHON) tools/demo.py $(ARGS)

demo-seg: env  ## Run the demo of segmentation
	@$(VENV_PYTHON) -W ignore tools/demo.py --task segmentation $(ARGS)

# xdist would begin with the files of most tests: the long ones have few, and
# the last would run alone.
test: env  ## Run the tests, files side by side
	OMP_NUM_THREADS=1 .ci/bare $(VENV_PYTHON) -m pytest -n auto --dist loadfile \
		--no-loadscope-reorder $(ARGS)

lint: env  ## Check style and types
	$(VENV_PYTHON) -m ruff check .
	$(VENV_PYTHON) -m ruff format --check .
	$(VENV_PYTHON) -m mypy

# An environment of its own, which sees .venv: what Sphinx needs is not there.
DOCS_PYTHON := .venv-docs/bin/python -W ignore

.venv-docs/done: requirements/docs.txt | env
	$(beside_venv)
	.venv-docs/bin/python -m pip install -q -r requirements/docs.txt
	@touch $@

docs: env .venv-docs/done  ## Build the site of the docs into build/docs/html
	@$(DOCS_PYTHON) docs/site/pages.py build/docs/source
	@$(DOCS_PYTHON) -m sphinx -q -W --keep-going -E -c docs/site \
		build/docs/source build/docs/html

speed: env  ## Time subnets, search, latency tables, half an hour
	@$(VENV_PYTHON) -W ignore -m benchmarks.speed $(ARGS)
	@$(VENV_PYTHON) -W ignore -m benchmarks.search_speed
	@$(VENV_PYTHON) -W ignore -m benchmarks.latency

gpu: env  ## Measure on a GPU, eight minutes, into work_dirs/gpu
	@$(VENV_PYTHON) -W ignore -m benchmarks.gpu --out work_dirs/gpu $(ARGS)

benchmark: env  ## Compare methods, hours; resumable; needs Fashion-MNIST
	@$(VENV_PYTHON) -W ignore -m benchmarks.accuracy $(ARGS)
	@$(VENV_PYTHON) -W ignore -m benchmarks.search
	@$(VENV_PYTHON) -W ignore -m benchmarks.stage2
	@env -u EAVIT_DATA $(VENV_PYTHON) -W ignore -m benchmarks.less
	@$(VENV_PYTHON) -W ignore -m benchmarks.finetune
	@$(VENV_PYTHON) -W ignore -m benchmarks.budgets
	@$(VENV_PYTHON) -W ignore -m benchmarks.export
	@$(VENV_PYTHON) -W ignore -m benchmarks.misuse
	@$(VENV_PYTHON) -W ignore -m benchmarks.memory
	@test -z "$$EAVIT_DATA" || for each in real_cls real_112 real_cost \
		real_ablations real_race real_seg snap snap_speed; do \
		$(VENV_PYTHON) -W ignore -m benchmarks.$$each || exit; \
	done  # EAVIT_DATA: the folder of photographs and of a ViT-Ti

clean:  ## Delete caches and build products; keeps .venv and work_dirs
	rm -rf build dist *.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -path ./.venv -prune -o -path ./work_dirs -prune -o \
		-name __pycache__ -type d -prune -exec rm -rf {} +
