package main

import (
	"fmt"
	"sync"
	"time"
)

const patience = 2 * time.Minute

// progress is waiting by event: a wait ends when its condition holds, when
// anything has failed, or when nothing at all has happened for two minutes.
type progress struct {
	mutex   sync.Mutex
	changed chan struct{}
	failure error
}

func newProgress() *progress { return &progress{changed: make(chan struct{})} }

// step says that something has happened: conditions are looked at again.
func (p *progress) step() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	close(p.changed)
	p.changed = make(chan struct{})
}

// fail ends all waits, present and future, with this failure.
func (p *progress) fail(err error) {
	p.mutex.Lock()
	if p.failure == nil {
		p.failure = err
	}
	p.mutex.Unlock()
	p.step()
}

func (p *progress) await(what string, condition func() bool) error {
	for {
		p.mutex.Lock()
		failure, changed := p.failure, p.changed
		p.mutex.Unlock()
		if failure != nil {
			return fmt.Errorf("while waiting for %s: %w", what, failure)
		}
		if condition() {
			return nil
		}
		select {
		case <-changed:
		case <-time.After(patience):
			return fmt.Errorf("nothing has happened for %v while waiting for %s", patience, what)
		}
	}
}
