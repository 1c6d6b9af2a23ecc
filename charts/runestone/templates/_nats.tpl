{{/* nats.conf. Its checksum makes pods start anew when it changes. */}}
{{- define "runestone.nats.config" -}}
{{- $name := printf "%s-nats" (include "runestone.fullname" .) -}}
port: 4222
http_port: 8222
server_name: $POD_NAME
pid_file: /var/run/nats/nats.pid
max_payload: {{ .Values.nats.maxPayload }}
lame_duck_grace_period: 5s
lame_duck_duration: 30s

jetstream {
  store_dir: /data/jetstream
  max_file_store: {{ .Values.nats.storage.size }}
  # A job is promised once it is stored: on the disk, not in the memory of the machine.
  sync_interval: always
}
{{- if .Values.nats.auth.enabled }}

# Whom to trust, as the operator says it; accounts come from there while the server runs.
include auth/auth.conf
{{- end }}
{{- if gt (int .Values.nats.replicas) 1 }}

cluster {
  name: {{ $name }}
  port: 6222
  routes: [
    {{- range $number := until (int .Values.nats.replicas) }}
    nats://{{ $name }}-{{ $number }}.{{ $name }}-headless.{{ $.Release.Namespace }}.svc:6222
    {{- end }}
  ]
}
{{- end }}
{{- end -}}

{{/* Of every server: each has to sync. */}}
{{- define "runestone.nats.monitors" -}}
{{- if .Values.nats.enabled -}}
{{- $name := printf "%s-nats" (include "runestone.fullname" .) -}}
{{- $urls := list -}}
{{- range $number := until (int .Values.nats.replicas) -}}
{{- $urls = append $urls (printf "http://%s-%d.%s-headless.%s.svc:8222" $name $number $name $.Release.Namespace) -}}
{{- end -}}
{{- join "," $urls -}}
{{- else if .Values.nats.url -}}
{{- .Values.nats.monitorURL -}}
{{- end -}}
{{- end -}}

{{/* How many servers keep each stream. */}}
{{- define "runestone.nats.copies" -}}
{{- if .Values.nats.enabled -}}
{{- .Values.nats.replicas -}}
{{- else if .Values.nats.url -}}
{{- .Values.nats.copies -}}
{{- end -}}
{{- end -}}
