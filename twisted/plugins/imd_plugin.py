from twisted.application.service import ServiceMaker

imd = ServiceMaker("imd", "imd.tap", "Instant-messaging server.", "imd")
