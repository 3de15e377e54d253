package agent

import (
	"context"
	"os"

	"golang.org/x/sys/unix"
)

// watchFolder tells when something happens in a folder, until ctx ends; then
// the channel is closed. What happened is not told: events may be lost, so who
// hears of one looks at the folder.
func watchFolder(ctx context.Context, folder string, mask uint32) (<-chan struct{}, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "inotify")
	if _, err := unix.InotifyAddWatch(fd, folder, mask); err != nil {
		f.Close()
		return nil, err
	}
	events := make(chan struct{}, 1)
	context.AfterFunc(ctx, func() { f.Close() })
	go func() {
		defer close(events)
		buf := make([]byte, 64*(unix.SizeofInotifyEvent+unix.NAME_MAX+1))
		for {
			if _, err := f.Read(buf); err != nil {
				return
			}
			select {
			case events <- struct{}{}:
			default:
			}
		}
	}()
	return events, nil
}
