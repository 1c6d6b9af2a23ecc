{{- define "runestone.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* What names of objects begin with; room is left for what follows: 63 characters are the most. */}}
{{- define "runestone.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "runestone.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "runestone.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* By which a component's pods are found: list ROOT COMPONENT. */}}
{{- define "runestone.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ include "runestone.name" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* Of pods: without the version, of which alone no pod need start anew. list ROOT COMPONENT */}}
{{- define "runestone.podLabels" -}}
{{ include "runestone.selector" . }}
{{- with (index . 0).Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* list ROOT COMPONENT */}}
{{- define "runestone.labels" -}}
{{- $root := index . 0 -}}
{{ include "runestone.podLabels" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name ($root.Chart.Version | replace "+" "_") }}
{{- end -}}

{{/* list ROOT IMAGE */}}
{{- define "runestone.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- $name := $image.repository -}}
{{- if $root.Values.imageRegistry -}}
{{- /* "host.name/path" and "host:port/path" name a registry; "path" and "owner/path" do not. */ -}}
{{- if not (regexMatch "^[^/]*[.:][^/]*/" $name) -}}
{{- $name = printf "%s/%s" (trimSuffix "/" $root.Values.imageRegistry) $name -}}
{{- end -}}
{{- end -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $name $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name ($image.tag | default $root.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/* What every container of ours may do: nothing. */}}
{{- define "runestone.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- define "runestone.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{/* Where and as whom pods run: list ROOT COMPONENT VALUES. */}}
{{- define "runestone.placement" -}}
{{- $root := index . 0 -}}
{{- $values := index . 2 -}}
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 0 }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations: {{- toYaml . | nindent 0 }}
{{- end }}
{{- if $values.affinity }}
affinity: {{- toYaml $values.affinity | nindent 2 }}
{{- else }}
topologySpreadConstraints:
{{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
- topologyKey: {{ . }}
  maxSkew: 1
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels: {{- include "runestone.selector" $ | nindent 6 }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "runestone.operator.serviceAccount" -}}
{{- $account := .Values.operator.serviceAccount -}}
{{- if $account.create -}}
{{- $account.name | default (printf "%s-operator" (include "runestone.fullname" .)) -}}
{{- else -}}
{{- required "operator.serviceAccount.name is needed where operator.serviceAccount.create is false" $account.name -}}
{{- end -}}
{{- end -}}

{{/* Empty: every sidecar by itself. */}}
{{- define "runestone.nats.url" -}}
{{- if .Values.nats.enabled -}}
nats://{{ include "runestone.fullname" . }}-nats.{{ .Release.Namespace }}.svc:4222
{{- else -}}
{{- .Values.nats.url -}}
{{- end -}}
{{- end -}}

{{- define "runestone.gateway.namespace" -}}
{{- .Values.gateway.namespace | default .Release.Namespace -}}
{{- end -}}

{{/* "true" where accounts at NATS are the operator's to make. */}}
{{- define "runestone.nats.accounts" -}}
{{- ternary .Values.nats.auth.enabled (and (ne .Values.nats.url "") .Values.nats.auth.external) .Values.nats.enabled -}}
{{- end -}}

{{/* What sidecars and gateways are told beside where NATS is, as JSON. What `sidecar.env` says wins. */}}
{{- define "runestone.sidecar.env" -}}
{{- $webhooks := .Values.sidecar.jobWebhooks -}}
{{- $told := dict
  "RUNESTONE_WEBHOOKS_AT_ONCE" ($webhooks.atOnce | int | toString)
  "RUNESTONE_WEBHOOK_ALLOW_CIDRS" (join "," $webhooks.allowCIDRs)
  "RUNESTONE_WEBHOOK_DENY_CIDRS" (join "," $webhooks.denyCIDRs)
  "NATS_MONITOR_URL" (include "runestone.nats.monitors" .)
  "NATS_REPLICAS" (include "runestone.nats.copies" .)
-}}
{{- range .Values.sidecar.env }}{{ $told = omit $told .name }}{{ end -}}
{{- $env := list -}}
{{- range $name, $value := $told -}}
{{- if $value }}{{ $env = append $env (dict "name" $name "value" $value) }}{{ end -}}
{{- end -}}
{{- concat $env .Values.sidecar.env | toJson -}}
{{- end -}}
