#!/bin/bash
# /usr/lib/dracut/modules.d/92latchkey-agent/module-setup.sh: put the agent into
# the image, with the plan of /etc/latchkey/latchkey.yaml and the modules that it
# needs. If the plan is wrong the image asks for a passphrase as always: it is
# built in any case. systemd must be in the image, as it is by default.
# shellcheck disable=SC2154 # dracut's variables

check() {
	[[ -f ${dracutsysrootdir-}/etc/latchkey/latchkey.yaml ]] || return 255
	require_binaries latchkey latchkey-agent || return 1
}

depends() {
	echo systemd crypt kernel-network-modules
	if grep -qs '^NETWORK=given' "${dracutsysrootdir-}/etc/latchkey/agent.conf"; then
		echo network
	fi
}

installkernel() {
	local modules
	hostonly='' instmods '=drivers/char/tpm'
	modules=$(latchkey image agent --output "$initdir" 2>/dev/null) || return 0
	# shellcheck disable=SC2086 # names of modules
	hostonly='' instmods $modules
}

install() {
	if ! latchkey image agent --output "$initdir" >/dev/null; then
		rm -f "$initdir/plan.json"
		derror "latchkey-agent: this image asks for a passphrase at boot: mend /etc/latchkey/latchkey.yaml, then dracut --force"
		return 0
	fi
	latchkey-agent check "$initdir" || derror "latchkey-agent: no key will come: mend /etc/crypttab, then dracut --force"
	inst_multiple latchkey-agent modprobe
	inst_multiple -o /etc/latchkey/agent.conf
	inst_simple "$systemdsystemunitdir/latchkey-agent.service"
	$SYSTEMCTL -q --root "$initdir" add-wants sysinit.target latchkey-agent.service
	if grep -qs '^NETWORK=given' "${dracutsysrootdir-}/etc/latchkey/agent.conf"; then
		mkdir -p "$initdir/etc/cmdline.d"
		echo rd.neednet=1 >"$initdir/etc/cmdline.d/92latchkey-agent.conf"
	fi
}
