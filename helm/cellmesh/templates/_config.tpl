{{/* The processes' configuration files. */}}

{{- define "cellmesh.routerConfig" -}}
{{- $fullname := include "cellmesh.fullname" . -}}
{{- $first := include "cellmesh.serviceFronts" . | fromJsonArray | first -}}
{{ include "cellmesh.config" (list . (prepend .Values.map.upstream $first)) }}
[router]
workers = {{ .Values.router.workers }}
wait_for_instances_ms = {{ mul .Values.router.waitForInstanceSeconds 1000 }}
descriptor_sets = ["/usr/share/cellmesh/shop.binpb"]
{{- range include "cellmesh.workloads" . | fromJsonArray }}
[[router.instances]]
address = "{{ $fullname }}-{{ .name }}.{{ $.Release.Namespace }}.svc:7002"
front = "{{ $fullname }}-{{ .name }}.{{ $.Release.Namespace }}.svc:7000"
{{- with .hosts }}
services = {{ toJson . }}
{{- end }}
{{- end }}
{{- if .Values.router.tls.secretName }}
[tls]
listen = "0.0.0.0:7443"
cert_file = "/etc/cellmesh/tls/tls.crt"
key_file = "/etc/cellmesh/tls/tls.key"
{{- end }}
{{- end -}}

{{/* Takes (list context index workload). The first workload of the global cell has the map; others copy it. */}}
{{- define "cellmesh.servicesConfig" -}}
{{- $context := index . 0 -}}
{{- $values := $context.Values -}}
{{- $keeper := include "cellmesh.serviceFronts" $context | fromJsonArray | first -}}
{{- $routers := include "cellmesh.routerFront" $context -}}
{{- $upstream := concat $values.map.upstream (list $routers) -}}
{{- if $values.cell.global -}}
{{- $upstream = ternary list (list $keeper $routers) (eq (index . 1 | int) 0) -}}
{{- end -}}
{{ include "cellmesh.config" (list $context $upstream) }}
[services]
run = {{ (index . 2).run | toJson }}
router_peer = "{{ include "cellmesh.routerPeer" $context }}"
{{- if and $values.cell.global (eq (index . 1 | int) 0) }}
[operator]
token_file = "/etc/cellmesh/operator/operator-token"
{{- end }}
[database]
path = "/var/lib/cellmesh/cell.db"
[catalog]
seed = {{ and $values.cell.global $values.services.seed }}
[campaign]
seed = {{ and $values.cell.global $values.services.seed }}
{{- end -}}
