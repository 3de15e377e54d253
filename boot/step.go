package boot

import "fmt"

// A StepError is why a step failed. Its code is stable: people and
// scripts look for it.
type StepError struct {
	Step string
	Code string
	Err  error
}

func (e *StepError) Error() string { return fmt.Sprintf("%s: %s: %v", e.Step, e.Code, e.Err) }
func (e *StepError) Unwrap() error { return e.Err }
