/* The floor that latchkey's speed is measured against: an init that only
 * loads the modules listed in /modules, maps /dev/vda with the volume key in
 * /table (a dm-crypt table), mounts it and runs its init. No network, no
 * TPM, no check of anything. */
#include <errno.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static void die(const char *what)
{
	printf("floor: %s: %s\n", what, strerror(errno));
	reboot(RB_POWER_OFF);
	exit(1);
}

static void load(void)
{
	char line[512];
	FILE *f = fopen("/modules", "r");
	if (!f)
		die("/modules");
	while (fgets(line, sizeof line, f)) {
		line[strcspn(line, "\n")] = 0;
		int fd = open(line, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) && errno != EEXIST))
			printf("floor: %s: %s\n", line, strerror(errno));
		close(fd);
	}
	fclose(f);
}

static void *request(char *buf, size_t size)
{
	struct dm_ioctl *io = (void *)buf;
	memset(buf, 0, size);
	io->version[0] = 4;
	io->data_size = size;
	io->data_start = sizeof *io;
	strcpy(io->name, "root");
	return io;
}

static void map(unsigned long long sectors)
{
	static char buf[4096], table[1024];
	int control = open("/dev/mapper/control", O_RDWR | O_CLOEXEC);
	int fd = open("/table", O_RDONLY | O_CLOEXEC);
	if (control < 0 || fd < 0 || read(fd, table, sizeof table - 1) < 1)
		die("control or table");
	close(fd);
	struct dm_ioctl *io = request(buf, sizeof buf);
	if (ioctl(control, DM_DEV_CREATE, io))
		die("create");
	io = request(buf, sizeof buf);
	struct dm_target_spec *spec = (void *)(buf + sizeof *io);
	io->target_count = 1;
	spec->length = sectors;
	strcpy(spec->target_type, "crypt");
	strcpy((char *)(spec + 1), table);
	if (ioctl(control, DM_TABLE_LOAD, io))
		die("table");
	io = request(buf, sizeof buf);
	if (ioctl(control, DM_DEV_SUSPEND, io)) /* without the flag: resume */
		die("resume");
	close(control);
}

int main(int argc, char **argv)
{
	struct stat st;
	mount("devtmpfs", "/dev", "devtmpfs", 0, "");
	load();
	while (stat("/dev/vda", &st))
		usleep(1000);
	map(strtoull(getenv("SECTORS") ? getenv("SECTORS") : "131072", 0, 10));
	mkdir("/sysroot", 0755);
	if (mount("/dev/dm-0", "/sysroot", "ext4", MS_RDONLY, ""))
		die("mount");
	mount("/dev", "/sysroot/dev", 0, MS_MOVE, 0);
	if (chdir("/sysroot") || mount(".", "/", 0, MS_MOVE, 0) || chroot(".") || chdir("/"))
		die("switch");
	execv("/sbin/init", argv);
	die("exec");
}
