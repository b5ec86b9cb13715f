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

# As in the CMakeLists.txt of uwm_ros: ROS from the Python registry exports include folders of the
# machine its wheels were built on, and CMake refuses a target with a folder that is not there.
macro(uwm_drop_missing_folders)
  get_property(targets DIRECTORY PROPERTY IMPORTED_TARGETS)
  foreach(target ${targets})
    get_target_property(folders ${target} INTERFACE_INCLUDE_DIRECTORIES)
    if(folders)
      set(present ${folders})
      foreach(folder ${folders})
        if(IS_ABSOLUTE "${folder}" AND NOT EXISTS "${folder}")
          list(REMOVE_ITEM present "${folder}")
        endif()
      endforeach()
      set_target_properties(${target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${present}")
    endif()
  endforeach()
endmacro()
