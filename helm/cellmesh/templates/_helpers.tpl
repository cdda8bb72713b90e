{{- define "cellmesh.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{/* What a workload's pods are chosen by. Takes (list context component). */}}
{{- define "cellmesh.selector" -}}
{{- $context := index . 0 -}}
app.kubernetes.io/name: {{ $context.Chart.Name }}
app.kubernetes.io/instance: {{ $context.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "cellmesh.labels" -}}
{{- $context := index . 0 -}}
{{ include "cellmesh.selector" . }}
app.kubernetes.io/part-of: cellmesh
app.kubernetes.io/version: {{ $context.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $context.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $context.Chart.Name $context.Chart.Version }}
cellmesh/cell: {{ $context.Values.cell.id | quote }}
cellmesh/region: {{ $context.Values.cell.region | quote }}
cellmesh/global: {{ $context.Values.cell.global | quote }}
{{- end -}}

{{- define "cellmesh.image" -}}
{{- $context := index . 0 -}}
{{ $context.Values.image.registry }}/{{ index . 1 }}:{{ $context.Values.image.tag | default $context.Chart.AppVersion }}
{{- end -}}

{{/* The services' workloads, as JSON: [{name, run, hosts, calls}]; nothing in run or hosts: everything. The first of the global cell keeps the map. */}}
{{- define "cellmesh.workloads" -}}
{{- $all := list (dict "name" "services" "run" list "hosts" list "calls" true) -}}
{{- if eq .Values.services.grouping "each" -}}
{{- $all = list -}}
{{- range $at, $process := .Files.Get "files/services.yaml" | fromYamlArray -}}
{{- $hosts := $process.hosts -}}
{{- if and $.Values.cell.global (eq $at 0) }}{{ $hosts = append $hosts "cellmesh.control.v1.MapAdminService" }}{{ end -}}
{{- $calls := or (eq $process.calls "always") (and (eq $process.calls "copies") (not $.Values.cell.global)) -}}
{{- $all = append $all (dict "name" $process.name "run" (list $process.name) "hosts" $hosts "calls" $calls) -}}
{{- end -}}
{{- end -}}
{{ toJson $all }}
{{- end -}}

{{- define "cellmesh.secretName" -}}
{{ .Values.mesh.existingSecret | default (printf "%s-mesh" (include "cellmesh.fullname" .)) }}
{{- end -}}

{{/* Front doors of this cell's services, as JSON. */}}
{{- define "cellmesh.serviceFronts" -}}
{{- $fronts := list -}}
{{- range include "cellmesh.workloads" . | fromJsonArray -}}
{{- $fronts = append $fronts (printf "%s-%s.%s.svc:7000" (include "cellmesh.fullname" $) .name $.Release.Namespace) -}}
{{- end -}}
{{ toJson $fronts }}
{{- end -}}

{{- define "cellmesh.routerFront" -}}
{{ include "cellmesh.fullname" . }}-router.{{ .Release.Namespace }}.svc:7000
{{- end -}}

{{- define "cellmesh.routerPeer" -}}
{{ include "cellmesh.fullname" . }}-router-peer.{{ .Release.Namespace }}.svc:7002
{{- end -}}

{{/* What both configurations begin with. A JSON text or list is one in TOML, too. Takes (list context upstream). */}}
{{- define "cellmesh.config" -}}
{{- $values := (index . 0).Values -}}
cell = {{ $values.cell.id | toJson }}
[listen]
front = "0.0.0.0:7000"
admin = "0.0.0.0:7001"
peer = "0.0.0.0:7002"
[peer]
token_file = "/etc/cellmesh/secret/peer-token"
[map]
file = "/var/lib/cellmesh/map.pb"
upstream = {{ index . 1 | toJson }}
[telemetry]
otlp = {{ $values.telemetry.otlp | toJson }}
sample_ratio = {{ $values.telemetry.sampleRatio | float64 | printf "%f" }}
log = {{ $values.telemetry.log | toJson }}
log_format = {{ $values.telemetry.logFormat | toJson }}
[drain]
grace_ms = {{ mul $values.drain.graceSeconds 1000 }}
{{- end -}}

{{/* The map's cells in the words of `cellctl map apply`. */}}
{{- define "cellmesh.cells" -}}
{{- $cells := list -}}
{{- range .Values.map.cells | default (list (dict "id" .Values.cell.id "region" .Values.cell.region)) -}}
{{- $own := eq .id $.Values.cell.id -}}
{{- $peer := ternary (list (include "cellmesh.routerPeer" $)) list $own -}}
{{- $front := ternary (list (include "cellmesh.routerFront" $)) list $own -}}
{{- $cell := dict "id" .id "region" .region "peer_endpoints" (.peerEndpoints | default $peer) "front_endpoints" (.frontEndpoints | default $front) -}}
{{- if hasKey . "weight" }}{{ $_ := set $cell "weight" (int64 .weight) }}{{ end -}}
{{- if hasKey . "draining" }}{{ $_ := set $cell "draining" .draining }}{{ end -}}
{{- $cells = append $cells $cell -}}
{{- end -}}
{{- $distances := list -}}
{{- range .Values.map.distances -}}
{{- $distances = append $distances (dict "between" .between "rtt_ms" (int64 .rttMs)) -}}
{{- end -}}
{{ dict "global" .Values.cell.id "cells" $cells "distances" $distances | toPrettyJson }}
{{- end -}}
