{{/* Names, labels, images: what several manifests say. */}}

{{- define "fusebox.name" -}}
{{- $name := .Release.Name -}}
{{- if not (contains .Chart.Name $name) }}{{ $name = printf "%s-%s" $name .Chart.Name }}{{ end -}}
{{- $name = $name | replace "." "-" -}}
{{- if regexMatch "^[0-9]" $name }}{{ $name = printf "%s-%s" .Chart.Name $name }}{{ end -}}
{{- $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "fusebox.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "fusebox.labels" -}}
{{ include "fusebox.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "fusebox.account" -}}
{{- if .Values.serviceAccount.create }}{{ .Values.serviceAccount.name | default (include "fusebox.name" .) }}
{{- else }}{{ .Values.serviceAccount.name | default "default" }}
{{- end -}}
{{- end -}}

{{/* image: (dict "root" $ "image" .Values.apiImage) */}}
{{- define "fusebox.image" -}}
{{- $usual := .root.Values.image -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ .image.tag | default $usual.tag | default .root.Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* The component that answers HTTP: everything in one, or the API. */}}
{{- define "fusebox.front" -}}
{{- ternary "api" "fusebox" (eq .Values.mode "split") -}}
{{- end -}}

{{- define "fusebox.egress" -}}
- ports:
    - port: 53
      protocol: UDP
    - port: 53
      protocol: TCP
{{- with .Values.networkPolicy.egress }}
{{ toYaml . }}
{{- end }}
{{- end -}}
