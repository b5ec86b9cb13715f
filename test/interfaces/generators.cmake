# SPDX-License-Identifier: Apache-2.0
# What rosidl_generate_interfaces needs for Python over Fast DDS and no more: the default set takes
# three times as long.
foreach(package
    rosidl_adapter rosidl_cmake rosidl_generator_type_description
    rosidl_generator_c rosidl_generator_cpp
    rosidl_typesupport_fastrtps_cpp rosidl_typesupport_fastrtps_c rosidl_typesupport_c
    rosidl_generator_py action_msgs service_msgs)
  find_package(${package} REQUIRED)
endforeach()

include(${CMAKE_CURRENT_LIST_DIR}/../../cmake/drop_missing_folders.cmake)
