#!/usr/bin/env bash
# Installs certctl from this checkout and its systemd unit. Run again to upgrade; settings and data are left alone.
#
#   sudo deploy/install.sh server
#   sudo deploy/install.sh agent
#
# DESTDIR installs below another root and leaves users and services alone, for packagers and for trying it.
set -euo pipefail

role=${1:-}
[[ $role == server || $role == agent ]] || { sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 2; }
source=$(cd "$(dirname "$0")/.." && pwd)
root=${DESTDIR:-}
python=${PYTHON:-python3}

[[ -n $root || $EUID -eq 0 ]] || { echo "run this as root, or set DESTDIR"; exit 1; }
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "needs Python 3.11 or newer"; exit 1; }

install -d "$root/opt" "$root/etc/certctl" "$root/etc/systemd/system"
[[ -x $root/opt/certctl/bin/python ]] || "$python" -m venv "$root/opt/certctl"
"$root/opt/certctl/bin/python" -m pip install --quiet --upgrade -c "$source/constraints.txt" "$source[$role]"

settings=$root/etc/certctl/$role.env
if [[ ! -e $settings ]]; then
    install -m 0600 /dev/null "$settings"
    echo "# CERTCTL_ settings of the $role, one NAME=VALUE a line: see docs/reference/settings-$role.md" >"$settings"
fi
install -m 0644 "$source/deploy/systemd/certctl-$role.service" "$root/etc/systemd/system/"

if [[ -z $root ]]; then
    [[ $role == agent ]] || id certctl >/dev/null 2>&1 ||
        useradd --system --home-dir /var/lib/certctl --shell /usr/sbin/nologin certctl
    systemctl daemon-reload
fi

if [[ $role == server ]]; then
    cat <<'NEXT'
Installed. Now:
  systemctl enable --now certctl-server
  journalctl -u certctl-server      shows the admin key of the first start, once
NEXT
else
    cat <<'NEXT'
Installed. Now, with what `certctl-server token` printed on the control plane:
  CERTCTL_STATE_DIR=/var/lib/certctl-agent /opt/certctl/bin/certctl-agent join \
      --server https://HOST:8443 --token TOKEN --ca-fingerprint sha256:HEX
  systemctl enable --now certctl-agent
NEXT
fi
