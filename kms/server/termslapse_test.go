package server_test

// renewsLapsed renews all machines of Kairos and Talos that lapsed.
func (k *kindred) renewsLapsed() int {
	k.t.Helper()
	of, err := k.Kairos.RenewLapsed(ctx)
	if err != nil {
		k.t.Fatal(err)
	}
	others, err := k.Talos.RenewLapsed(ctx)
	if err != nil {
		k.t.Fatal(err)
	}
	return len(of) + len(others)
}
