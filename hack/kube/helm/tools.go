//go:build tools

// Package tools names the helm command that hack/kube-tools builds, so that go.mod and go.sum pin it
// and everything it is made of.
package tools

import _ "helm.sh/helm/v4/cmd/helm"
