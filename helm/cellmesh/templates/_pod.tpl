{{/* Parts of every pod. */}}

{{- define "cellmesh.podSecurity" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.serviceAccountName }}
serviceAccountName: {{ . }}
{{- end }}
{{- with .Values.image.pullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "cellmesh.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end -}}

{{/* A process waits for the map before it listens: at most ten minutes, then it is started anew. */}}
{{- define "cellmesh.probes" -}}
startupProbe:
  httpGet: {path: /livez, port: admin}
  periodSeconds: 2
  failureThreshold: 300
livenessProbe:
  httpGet: {path: /livez, port: admin}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: admin}
  periodSeconds: {{ index . 0 }}
  timeoutSeconds: 5
  failureThreshold: {{ index . 1 }}
{{- end -}}

{{- define "cellmesh.ports" -}}
ports:
- {name: front, containerPort: 7000}
- {name: admin, containerPort: 7001}
- {name: peer, containerPort: 7002}
{{- end -}}

{{/* Where pods run. Takes (list context values component). */}}
{{- define "cellmesh.scheduling" -}}
{{- $values := index . 1 -}}
{{- $selector := dict "matchLabels" (include "cellmesh.selector" (list (index . 0) (index . 2)) | fromYaml) -}}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity: {{ toYaml . | nindent 2 }}
{{- end }}
{{- $spread := $values.topologySpreadConstraints }}
{{- if and (not $spread) (eq (index . 2) "router") }}
{{- $spread = list (dict "maxSkew" 1 "topologyKey" "kubernetes.io/hostname" "whenUnsatisfiable" "ScheduleAnyway") }}
{{- end }}
{{- if $spread }}
topologySpreadConstraints:
{{- range $spread }}
- {{ merge (dict) . (dict "labelSelector" $selector) | toYaml | nindent 2 | trim }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "cellmesh.podMetadata" -}}
{{- $values := index . 1 -}}
labels: {{ include "cellmesh.labels" (list (index . 0) (index . 2)) | nindent 2 }}
  {{- with $values.podLabels }}{{ toYaml . | nindent 2 }}{{ end }}
annotations:
  checksum/config: {{ index . 3 | sha256sum }}
  checksum/secret: {{ (index . 0).Values.mesh | toJson | sha256sum }}
  {{- with $values.podAnnotations }}{{ toYaml . | nindent 2 }}{{ end }}
{{- end -}}
