# Every target is one line that calls the real tool; `make` without a target lists them.
#   ENV=lab|aws            which inventory (default: lab)
#   LIMIT=<machine>        one machine;  TAGS=<tags>  part of the play;  ARGS='…'  more options for ansible-playbook
#   CONNECT=ssm            through Session Manager, where machines have no public address
#   TRACE=<file.csv>       what `make demo` and `make replay` send
SHELL := /bin/bash
.DEFAULT_GOAL := help
# Targets given together run one after the other, in the given order, because each builds on the one before.
.NOTPARALLEL:
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export CMD
# Some environments forbid Python to keep what it has compiled. Then each of the thousands of processes that tests and
# plays start would compile all that it imports: more than half of their time.
unexport PYTHONDONTWRITEBYTECODE

ENV   ?= lab
TRACE ?= $(wildcard ../shared/data/azure-llm-2023-code.csv)
# Where the fleet on AWS is, as terraform.tfvars says; the inventory reads it here.
TFVARS = terraform/terraform.tfvars
tfvar  = $(shell sed -nE 's/^ *$(1) *= *"([^"]*)".*/\1/p' $(TFVARS) 2>/dev/null)
ifeq ($(ENV),aws)
export FLEET_REGION      ?= $(call tfvar,aws_region)
export FLEET_ENVIRONMENT ?= $(call tfvar,environment)
endif
BY     = $(if $(CONNECT),-e connect_by=$(CONNECT))
PLAY   = ansible-playbook -i inventories/$(ENV) $(BY) $(if $(LIMIT),--limit $(LIMIT)) $(if $(TAGS),--tags $(TAGS)) $(ARGS)
comma := ,
# Where a session goes.
session = $$(ansible-inventory -i inventories/aws --host $(1) | jq -er '"--region \(.ec2_placement.region) --target \(.ec2_instance_id)"')
ROLES  = docker kafka mongo processor producers

##@ Start here
demo: setup-lab ## lab, site.yml, a replay of real input, verification; exit 0 only if it passed
	scripts/demo.sh "$(TRACE)"
demo-down: setup ## take the lab down, machines and data included
	lab down
test: setup-lab ## everything: lint, unit, the lab, molecule of each role, the whole site
	scripts/test.sh
test-fast: setup lint unit ## only lint and unit tests
ledger-cases: setup ## the ledger against its oracle: LEDGER_CASES seeded cases (200000)
	LEDGER_CASES=$(or $(LEDGER_CASES),200000) pytest -q -n 2 --dist loadfile apps/processor/tests/test_processor_ledger_oracle.py apps/processor/tests/test_processor_ledger_laws.py

##@ The local lab
lab-up: setup-lab ## bring up the machines of fleet.yml
	lab up
lab-down: setup ## take them down, data included
	lab down
lab-status: setup ## what is up
	lab status

##@ The pipeline
converge: setup ## site.yml (LIMIT=processor-1 TAGS=processor_configure narrow it)
	$(PLAY) site.yml
check: setup ## what site.yml would change
	$(PLAY) site.yml --check --diff
verify: setup ## check everything; writes build/verify.json
	$(PLAY) playbooks/verify.yml
health: setup ## is each service healthy?
	$(PLAY) playbooks/health.yml
restart: setup ## rolling restart
	$(PLAY) playbooks/restart.yml
upgrade: setup ## rolling change of images, one machine at a time
	$(PLAY) playbooks/upgrade.yml
replay: setup ## send TRACE through the pipeline
	$(PLAY) playbooks/replay.yml $(if $(TRACE),-e replay_trace=$(abspath $(TRACE)))
resend-dead-letters: setup ## send dead letters to their topics again (REASON=…; ARGS=--check only counts them)
	$(PLAY) playbooks/resend_dead_letters.yml $(if $(REASON),-e reason=$(REASON))
restore-topics: setup ## bring back the topics of a broker that forgot them (docs/full-disks.md; ARGS=--check says what is missed)
	$(PLAY) playbooks/restore_topics.yml
support-bundle: setup ## logs and state of every machine in build/
	$(PLAY) playbooks/support_bundle.yml
reset: setup ## stop the services; keeps the data unless ARGS='-e wipe_data=true'
	$(PLAY) playbooks/reset.yml
fleet-check: setup ## are fleet.yml and catalog.yml right?
	fleet check && gpu-token-catalog check catalog.yml

drift: setup ## what differs from the repository; exit 2 if anything does
	scripts/drift.sh $(ENV) $(BY)

##@ One machine (kafka-1, processor-1 …) or one role
verify-%: setup ## the checks of one role
	$(PLAY) playbooks/verify.yml --limit $*
ssh-%: setup ## a shell on the machine
	$(if $(filter aws,$(ENV)),$(if $(filter ssm,$(CONNECT)),aws ssm start-session $(call session,$*),ssh $(FLEET_SSH_KEY:%=-o IdentitiesOnly=yes -i %) ubuntu@$$(ansible-inventory -i inventories/aws $(BY) --host $* | jq -er .ansible_host)),lab ssh $*)
tunnel: setup ## the API and its page at http://localhost:8080, through Session Manager (the lab needs none)
	$(if $(filter aws,$(ENV)),aws ssm start-session $(call session,processor-1) --document-name AWS-StartPortForwardingSession --parameters portNumber=8080$(comma)localPortNumber=8080,lab status)
replace-%: setup ## another machine in its place, with the same data disk; then make known-hosts converge
	$(if $(filter aws,$(ENV)),scripts/terraform.sh apply -replace='module.instances.aws_instance.machine["$*"]',lab replace $*)
exec-%: setup ## CMD='…' as root on the machine
	ansible $* -i inventories/$(ENV) $(BY) --become -m ansible.builtin.shell -a "$$CMD"
logs-%: setup ## the service's last 100 lines
	ansible $* -i inventories/$(ENV) $(BY) --become -m ansible.builtin.command -a "docker logs --tail 100 $(firstword $(subst -, ,$*))"
api-token: setup ## print the token that the API and its page ask for
	@ansible processor[0] -i inventories/$(ENV) $(BY) --become -m ansible.builtin.command -a "cat /opt/gpu-token/processor/secrets/api-token" | tail -1
intake-token: setup ## print the token that the producers' intake asks for, if a source is received there
	@ansible producers[0] -i inventories/$(ENV) $(BY) --become -m ansible.builtin.command -a "cat /opt/gpu-token/producers/secrets/intake-token" | tail -1
secrets-file: setup ## fresh secrets for secrets_store=vault (SECRETS=file, VAULT_PASSWORD_FILE=file)
	ansible-playbook -i localhost, playbooks/vault.yml -e secrets_file=$(abspath $(SECRETS)) -e vault_password_file=$(abspath $(VAULT_PASSWORD_FILE))
addrs: setup ## the address of every machine
	ansible all -i inventories/$(ENV) $(BY) -m ansible.builtin.debug -a "msg={{ ansible_host }}"

##@ Machines on AWS (ENV=aws); docs/aws.md
deploy: $(if $(filter aws,$(ENV)),init plan apply known-hosts,lab-up) ## make the machines, then site.yml
	$(MAKE) converge ENV=$(ENV)
down: setup ## take the machines down, data included; on AWS it asks first, unless YES=1
	$(if $(filter aws,$(ENV)),scripts/terraform.sh destroy $(if $(filter 1,$(YES)),-auto-approve),lab down)
init: ## terraform init
	terraform -chdir=terraform init -input=false
fmt: setup ## format Terraform and Python
	terraform -chdir=terraform fmt -recursive && ruff format .
plan: ## terraform plan, into fleet.tfplan
	scripts/terraform.sh plan -input=false -out=fleet.tfplan
apply: ## terraform apply of that plan
	terraform -chdir=terraform apply -input=false fleet.tfplan
known-hosts: ## tell SSH the machines' keys, read from their consoles
	mkdir -p -m 0700 ~/.ssh && python3 terraform/known_hosts.py 300 >> ~/.ssh/known_hosts
outputs: ## terraform output
	terraform -chdir=terraform output
ip: ## the address from which you may log in (MY_IP_CIDR=… is used where terraform.tfvars sets no allowed_cidrs)
	python3 terraform/allowed_cidrs.py
whoami: ## which AWS identity is in use
	aws sts get-caller-identity

##@ Tests in parts
drill: lab-up converge ## break each part under load, and count; writes build/drill.json (FAULT=…, SEED=…)
	python -m drill $(if $(FAULT),--only $(FAULT)) $(if $(SEED),--seed $(SEED))
lint: setup ## ansible-lint, yamllint, ruff, mypy, hadolint, shellcheck
	scripts/lint.sh
unit: setup ## unit and property tests
	pytest -q -n 4 --dist loadfile --no-loadscope-reorder --ignore tests/terraform/test_checkov.py
molecule: setup-lab $(addprefix molecule-,$(ROLES)) ## molecule test of every role
molecule-%: setup-lab ## molecule test of one role
	molecule test -s $*
e2e: setup-lab ## the whole site in the lab, through ansible-runner
	pytest -q tests/e2e
bench: setup-lab ## the processor beside its peers; writes build/bench.json (docs/performance.md)
	python -m bench $(ARGS)
lab-test: setup-lab ## the lab itself
	pytest -q tests/lab

##@ What it is made of (docs/supply-chain.md)
sbom: setup ## what both apps hold, as CycloneDX in build/sbom
	scripts/sbom.sh
audit: setup ## known vulnerabilities in it; AUDIT_REQUIRED=1 fails where no service can be asked
	scripts/audit.sh || [ $$? -eq 77 ]
outdated: setup ## every pinned version, where it stands, and the newest
	python -m supply.outdated

##@ Housekeeping
page-libraries: ## copy the page's libraries into the processor, as apps/processor/npm pins them (needs npm)
	scripts/vendor_page.sh
page-images: setup-lab ## take the README's pictures of the page
	mkdir -p docs/images && PAGE_IMAGES=$(CURDIR)/docs/images pytest -q apps/processor/tests/test_processor_page_seen.py -k pictures
docs: setup ## write the role READMEs, and the diagram and tables that docs/ has of fleet.yml
	scripts/role_docs.sh && fleet docs
setup: ## the controller's tools in .venv
	scripts/setup.sh tools
setup-lab: ## … and the Debian packages the lab needs
	scripts/setup.sh lab
clean: ## remove local caches and build output
	rm -rf build .mypy_cache .pytest_cache .ruff_cache .hypothesis .ansible
nuke: ## clean, and forget .venv and Terraform's state; asks first
	scripts/nuke.sh
help:
	@awk 'BEGIN{FS=":.*## "} /^##@/{printf "\n%s\n",substr($$0,5)} /^[a-z0-9%-]+:.*## /{printf "  %-20s %s\n",$$1,$$2}' $(MAKEFILE_LIST)

.PHONY: $(shell awk -F: '/^[a-z0-9-]+:.*##/{print $$1}' $(firstword $(MAKEFILE_LIST)))
