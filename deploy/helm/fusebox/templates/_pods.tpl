{{/* What all pods have in common: rights, probes, environment, scratch space. */}}

{{- define "fusebox.pod" -}}
serviceAccountName: {{ include "fusebox.account" . }}
automountServiceAccountToken: false
# A Service called fusebox would else become the variable FUSEBOX_PORT=tcp://..., which is a setting.
enableServiceLinks: false
{{- if .Values.userNamespaces }}
hostUsers: false
{{- end }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: {{ .Values.seccomp.type }}
    {{- if eq .Values.seccomp.type "Localhost" }}
    localhostProfile: {{ .Values.seccomp.localhostProfile }}
    {{- end }}
{{- end -}}

{{- define "fusebox.container" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
volumeMounts:
  - name: data
    mountPath: /data
  - name: tmp
    mountPath: /tmp
{{- end -}}

{{- define "fusebox.tmp" -}}
- name: tmp
  emptyDir:
    sizeLimit: 256Mi
{{- end -}}

{{/* Where `single` and workers run. */}}
{{- define "fusebox.placement" -}}
{{- if and .Values.gpu.enabled .Values.gpu.runtimeClassName }}
runtimeClassName: {{ .Values.gpu.runtimeClassName }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* resources: (dict "root" $ "resources" .Values.resources), with one GPU. */}}
{{- define "fusebox.resources" -}}
{{- $resources := deepCopy .resources -}}
{{- if .root.Values.gpu.enabled -}}
{{- $limits := merge (dict .root.Values.gpu.resource 1) ($resources.limits | default dict) -}}
{{- $_ := set $resources "limits" $limits -}}
{{- end -}}
{{- toYaml $resources -}}
{{- end -}}

{{/* probe: (dict "root" $ "path" "/livez"). The service may answer to some names of hosts only. */}}
{{- define "fusebox.probe" -}}
httpGet:
  path: {{ .path }}
  port: http
  {{- with .root.Values.settings.ALLOWED_HOSTS }}
  httpHeaders:
    - name: Host
      value: {{ splitList "," . | first | trim }}
  {{- end }}
timeoutSeconds: 10
{{- end -}}

{{- define "fusebox.environment" -}}
envFrom:
  - configMapRef:
      name: {{ include "fusebox.name" . }}
  {{- if and (eq .Values.mode "split") .Values.store.existingSecret }}
  - secretRef:
      name: {{ .Values.store.existingSecret }}
  {{- end }}
{{- end -}}

{{- define "fusebox.database" -}}
{{- if eq .Values.mode "split" }}
- name: FUSEBOX_DATABASE_URL
  valueFrom:
    secretKeyRef:
      name: {{ .Values.database.existingSecret }}
      key: {{ .Values.database.key }}
{{- end }}
{{- end -}}

{{- define "fusebox.keys" -}}
{{- if .Values.auth.existingSecret }}
- name: FUSEBOX_API_KEYS_FILE
  value: /etc/fusebox/keys
{{- end }}
{{- end -}}

{{- define "fusebox.keysMount" -}}
{{- if .Values.auth.existingSecret }}
- name: keys
  mountPath: /etc/fusebox
  readOnly: true
{{- end }}
{{- end -}}

{{- define "fusebox.keysVolume" -}}
{{- if .Values.auth.existingSecret }}
- name: keys
  secret:
    secretName: {{ .Values.auth.existingSecret }}
    defaultMode: 0440
    items:
      - key: {{ .Values.auth.key }}
        path: keys
{{- end }}
{{- end -}}

{{/* Settings are texts: whole numbers are written whole, and YAML's `off` is the word. */}}
{{- define "fusebox.text" -}}
{{- if kindIs "bool" . }}{{ ternary "on" "off" . }}
{{- else if and (kindIs "float64" .) (eq (floor .) .) }}{{ int64 . }}
{{- else }}{{ . }}
{{- end -}}
{{- end -}}
