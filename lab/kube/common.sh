# Shared by the scripts beside it. Sourced, not run.
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
KUBE_BIN=$(realpath -m "${KUBE_BIN:-${CELLMESH_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/cellmesh}/kube}")
LAB=/tmp/kube-lab
NODE=lab-node
LINK=klab0                                # host end of the veth pair into the lab
HOST_IP=10.254.77.1 NODE_IP=10.254.77.2   # host end, lab end
POD_CIDR=10.244.0.0/24
SVC_CIDR=10.96.0.0/16 API_SVC=10.96.0.1 DNS_SVC=10.96.0.10
CG=kube-lab                               # cgroup root of the pods
PAUSE_IMAGE=localhost/kube-lab-pause:1
SYSCTLS="vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops kernel/keys/root_maxkeys kernel/keys/root_maxbytes"
KUBECONFIG=$LAB/kubeconfig
export KUBECONFIG

die() { echo "kube-lab: $*" >&2; exit 1; }
say() { printf '%5.1fs  %s\n' "$(elapsed)" "$*"; }
elapsed() { awk -v a="$T0" -v b="$EPOCHREALTIME" 'BEGIN{print b-a}'; }
stamp() { [ -n "$1" ] && awk '{print $22}' "/proc/$1/stat" 2>/dev/null; }   # start time: guards against a reused pid
record() { # NAME PARENT : waits for PARENT's one child and records it
  local c=; wait_for 5 pgrep -P "$2" && c=$(pgrep -P "$2") && echo "$c $(stamp "$c")" > "$LAB/run/$1.pid"
}
gone() { ! pid_of "$1" > /dev/null; }
pid_of() { # NAME: prints the pid if that recorded process still lives
  local p t; read -r p t 2>/dev/null < "$LAB/run/$1.pid" || return 1
  [ -n "$t" ] && [ "$(stamp "$p")" = "$t" ] && echo "$p"
}
wait_for() { # SECONDS CMD...
  local end=$((SECONDS + $1)); shift
  until "$@" >/dev/null 2>&1; do [ $SECONDS -lt $end ] || return 1; sleep 0.2; done
}
in_lab() { nsenter -t "$(pid_of init)" -m -n -p -u -i -- env -i HOME=/ PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin "$@"; }
kube() { "$KUBE_BIN/kubectl" "$@"; }
lab_ctr() { ctr -a "$LAB/containerd.sock" -n k8s.io "$@"; }

# mkimage NAME:TAG BINARY OUT.tar : FROM scratch, BINARY at /<basename>, non-root, as a docker archive
mkimage() {
  local name=$1 bin=$2 out=$3 base d id cfg
  base=$(basename "$bin"); d=$(mktemp -d "$LAB/img.XXXXXX"); mkdir "$d/l" "$d/o"
  install -m 0755 "$bin" "$d/l/$base"
  tar -C "$d/l" --owner=0 --group=0 --numeric-owner --mtime=@0 --sort=name -cf "$d/o/layer.tar" "$base"
  id=$(sha256sum "$d/o/layer.tar" | cut -d' ' -f1)
  cfg="{\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{\"User\":\"65532:65532\",\"Entrypoint\":[\"/$base\"]},\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"sha256:$id\"]}}"
  printf %s "$cfg" > "$d/o/config.json"
  printf '[{"Config":"config.json","RepoTags":["%s"],"Layers":["layer.tar"]}]' "$name" > "$d/o/manifest.json"
  tar -C "$d/o" -cf "$out" manifest.json config.json layer.tar
  rm -rf "$d"
}
