{{- define "latchkey.fullname" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 53 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 53 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "latchkey.kms" -}}{{ include "latchkey.fullname" . }}-kms{{- end }}
{{- define "latchkey.responder" -}}{{ include "latchkey.fullname" . }}-responder{{- end }}
{{- define "latchkey.responderNamespace" -}}{{ .Values.responder.namespace | default .Release.Namespace }}{{- end }}

{{- /* What selects pods never changes: a Deployment's selector cannot. */}}
{{- define "latchkey.selector" -}}
app.kubernetes.io/name: latchkey-kms
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "latchkey.responderSelector" -}}
app.kubernetes.io/name: latchkey-responder
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "latchkey.labels" -}}
app.kubernetes.io/part-of: latchkey
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "latchkey.image" -}}
{{- with .image -}}{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}{{- end -}}
{{- end }}

{{- define "latchkey.podSecurity" -}}
{runAsNonRoot: true, runAsUser: 65532, runAsGroup: 65532, fsGroup: 65532, seccompProfile: {type: RuntimeDefault}}
{{- end }}

{{- define "latchkey.locked" -}}
{allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
{{- end }}

{{- /* Where the server's state is, for every command of latchkey-kms. */}}
{{- define "latchkey.place" -}}
- --data=/data/kms
- --store=kube:{{ .Release.Namespace }}
- --wrapping-key=/wrapping/wrapping.key
{{- end }}
