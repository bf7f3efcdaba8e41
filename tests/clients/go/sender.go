package main

import (
	"context"
	"fmt"
	"sync/atomic"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

const (
	asyncInFlight = 16
	batchMessages = 16
)

// sender sends the plan's messages in order, the modes taking turns, so that
// the acknowledged sends pace the one-way ones. Any answer but SendOK is a
// failure.
type sender struct {
	plan       *plan
	progress   *progress
	producer   rocketmq.Producer
	limit      atomic.Int64
	inFlight   atomic.Int64
	batch      []*primitive.Message
	batchBytes int
	sent       [modes]int
	bytes      [modes]int
}

func newSender(p *plan, pr *progress, namesrv string) (*sender, error) {
	made, err := rocketmq.NewProducer(
		producer.WithNameServer(primitive.NamesrvAddr{namesrv}),
		producer.WithGroupName(p.topic+"-producers"),
		producer.WithInstanceName("producer"),
		// The sharding key chooses the queue; chance does for messages without.
		producer.WithQueueSelector(producer.NewHashQueueSelector()),
	)
	if err != nil {
		return nil, err
	}
	return &sender{plan: p, progress: pr, producer: made}, made.Start()
}

// open lets messages up to number limit-1 go.
func (s *sender) open(limit int) {
	s.limit.Store(int64(limit))
	s.progress.step()
}

// send sends messages from..to-1, each as soon as the limit lets it go.
func (s *sender) send(from, to int) error {
	for i := from; i < to; i++ {
		err := s.progress.await(fmt.Sprintf("leave to send message %d", i), func() bool { return int64(i) < s.limit.Load() })
		if err != nil {
			return err
		}
		message := s.plan.message(i)
		mode := s.plan.mode(i)
		s.sent[mode]++
		s.bytes[mode] += len(message.Body)
		switch mode {
		case modeSync, modeSelected:
			err = s.sendSync(message)
		case modeAsync:
			err = s.sendAsync(message)
		case modeOneWay:
			err = s.producer.SendOneWay(context.Background(), message)
		case modeBatch:
			err = s.addToBatch(message)
		}
		if err != nil {
			return fmt.Errorf("message %d, %s: %w", i, modeNames[mode], err)
		}
	}
	if err := s.flushBatch(); err != nil {
		return err
	}
	return s.progress.await("the last asynchronous sends", func() bool { return s.inFlight.Load() == 0 })
}

func (s *sender) sendSync(messages ...*primitive.Message) error {
	result, err := s.producer.SendSync(context.Background(), messages...)
	if err != nil {
		return err
	}
	return check(result)
}

func (s *sender) sendAsync(message *primitive.Message) error {
	err := s.progress.await("an asynchronous send to end", func() bool { return s.inFlight.Load() < asyncInFlight })
	if err != nil {
		return err
	}
	s.inFlight.Add(1)
	return s.producer.SendAsync(context.Background(), func(_ context.Context, result *primitive.SendResult, err error) {
		s.inFlight.Add(-1)
		if err == nil {
			err = check(result)
		}
		if err != nil {
			s.progress.fail(fmt.Errorf("asynchronous send: %w", err))
		}
		s.progress.step()
	}, message)
}

func (s *sender) addToBatch(message *primitive.Message) error {
	if len(s.batch) == batchMessages || s.batchBytes+len(message.Body) > s.plan.maxBody {
		if err := s.flushBatch(); err != nil {
			return err
		}
	}
	s.batch = append(s.batch, message)
	s.batchBytes += len(message.Body)
	return nil
}

func (s *sender) flushBatch() error {
	if len(s.batch) == 0 {
		return nil
	}
	err := s.sendSync(s.batch...)
	s.batch, s.batchBytes = nil, 0
	return err
}

func check(result *primitive.SendResult) error {
	if result.Status != primitive.SendOK {
		return fmt.Errorf("send: %s", result)
	}
	return nil
}

// report prints one line for each mode.
func (s *sender) report() {
	for mode, name := range modeNames {
		fmt.Printf("mode %s: %d messages, %.1f MB\n", name, s.sent[mode], float64(s.bytes[mode])/1e6)
	}
}
