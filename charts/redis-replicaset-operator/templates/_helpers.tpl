{{/* Full name of the objects: the release's name, with the chart's where it is not in it yet. */}}
{{- define "rrs.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 53 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 53 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Labels that select the operator's pods. */}}
{{- define "rrs.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Labels of every object. */}}
{{- define "rrs.labels" -}}
{{ include "rrs.selectorLabels" . }}
app.kubernetes.io/component: operator
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "rrs.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "rrs.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* Image reference: the argument is a dict of the image's values and the chart. */}}
{{- define "rrs.image" -}}
{{- printf "%s:%s" .image.repository (default .chart.AppVersion .image.tag) -}}
{{- end -}}

{{/* What the schema cannot say, or not in words a person understands. */}}
{{- define "rrs.validate" -}}
{{- range $label, $_ := .Values.podLabels -}}
{{- if regexMatch "^(app\\.kubernetes\\.io|helm\\.sh)/" $label -}}
{{- fail (printf "podLabels may not set %s: the chart sets the labels below app.kubernetes.io/ and helm.sh/ itself, and selects its pods by them" $label) -}}
{{- end -}}
{{- end -}}
{{- /* Checked where there is a server to ask: `helm template` alone knows only the version that helm was built with. */ -}}
{{- if and (lookup "v1" "Namespace" "" "kube-system") (semverCompare "<1.29.0-0" .Capabilities.KubeVersion.Version) -}}
{{- fail (printf "Kubernetes %s is too old: the CustomResourceDefinition's rules need 1.29 or later" .Capabilities.KubeVersion.Version) -}}
{{- end -}}
{{- if and (gt (int .Values.replicaCount) 1) (not .Values.leaderElection.enabled) -}}
{{- fail "replicaCount larger than 1 needs leaderElection.enabled: true, or several operators would work at once" -}}
{{- end -}}
{{- if and .Values.monitoring.prometheusRule.enabled (not (and .Values.monitoring.serviceMonitor.enabled .Values.monitoring.podMonitor.enabled)) -}}
{{- fail "monitoring.prometheusRule.enabled needs monitoring.serviceMonitor.enabled and monitoring.podMonitor.enabled: the alerts read the labels which those two set" -}}
{{- end -}}
{{- end -}}
