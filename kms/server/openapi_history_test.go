package server_test

// askHistory asks what becomes of the audit log.
func askHistory(ask func(method, target, body string, want int)) {
	ask("GET", "/v1/audit/proof?number=1", "", 409)
	ask("POST", "/v1/audit/seal", "", 200)
	ask("POST", "/v1/store/upgrade", "", 200)
	for _, path := range []string{"/v1/audit/logs", "/v1/audit/segments", "/v1/audit/segment?number=1", "/v1/audit/proof?number=1"} {
		ask("GET", path, "", 200)
	}
	for _, path := range []string{"/v1/audit/segment?number=x", "/v1/audit/proof?number=0"} {
		ask("GET", path, "", 400)
	}
	ask("GET", "/v1/audit/segment?number=99", "", 404)
	ask("POST", "/v1/store/rekey?continue=perhaps", "", 400)
	ask("POST", "/v1/store/rekey", "", 200)
	ask("GET", "/v1/store/keys", "", 200)
}
